# The seeds of a cell that share a block share a process (execution.seeds_per_job): one rule a block, so that
# wildcards stay entities and every seed keeps artefacts of its own.
for block, seeds in PLAN.blocks.items():

    rule:
        name:
            f"train_{block}"
        input:
            recipes=lambda w, seeds=seeds: PLAN.recipe_files(**w, seeds=seeds),
            labels=expand(rules.noisy_labels.output, seed=seeds, allow_missing=True),
            train=rules.prepare_dataset.output.train,
            record=rules.prepare_dataset.output.record,
        output:
            PLAN.run_files(CHECKPOINT_FILES, seeds),
        log:
            LOGS / f"train/{CELL}/block{block}.log",
        benchmark:
            BENCHMARKS / f"train/{CELL}/block{block}.tsv"
        threads: PLAN.settings.training.threads
        resources:
            gpu=1,
        params:
            save_seconds=PLAN.settings.execution.save_seconds,
        shell:
            "collabpipe train {input.recipes} --save-seconds {params.save_seconds} > {log} 2>&1"


rule checkpoints:
    input:
        expand(PLAN.run_files(CHECKPOINT_FILES), **PLAN.entities),
