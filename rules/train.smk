# The seeds of a block share a process (execution.seeds_per_job). There is one rule per block, so that wildcards name
# only entities and every seed keeps its own artefacts. The candidates of a search have blocks of their own.
for block in FILES.blocks:

    rule:
        name:
            block.rule("train")
        input:
            recipes=lambda w, seeds=block.seeds: FILES.recipe_files(**w, seeds=seeds),
            choices=lambda w: FILES.choice_files(
                w.dataset, w.noise, w.network, w.method
            ),
            labels=expand(
                rules.noisy_labels.output, seed=block.seeds, allow_missing=True
            ),
            train=rules.prepare_dataset.output.train,
            record=rules.prepare_dataset.output.record,
        output:
            FILES.checkpoints(block.seeds),
        log:
            LOGS / f"train/{CELL}/block{block.number}.log",
        benchmark:
            BENCHMARKS / f"train/{CELL}/block{block.number}.tsv"
        wildcard_constraints:
            method=block.methods,
        threads: lambda w: PLAN.settings.training_of(w.dataset).threads
        resources:
            gpu=FILES.gpus,
        params:
            options=FILES.train_options,
        shell:
            f"{STEP}collabpipe train {{input.recipes}} {{params.options}} > {{log}} 2>&1"


# Snakemake only knows about GPUs that the user names.
onstart:
    hint = workflow.local_exec and FILES.gpu_hint(
        workflow.global_resources.get("gpu").value
    )
    if hint:
        logger.info(hint)


rule checkpoints:
    input:
        FILES.all_records,
