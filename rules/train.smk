# The seeds of a block share a process (execution.seeds_per_job). There is one rule per block, so that wildcards name
# only entities and every seed keeps its own artefacts. The candidates of a search have blocks of their own.
for block in FILES.blocks:

    rule:
        name:
            block.rule("train")
        input:
            recipes=lambda w, job=block.job("train"): FILES.recipes(job, **w),
            made_from=lambda w, job=block.job("train"): FILES.reads(job, **w),
        output:
            FILES.checkpoints(block.seeds),
        log:
            PATHS.log(block.job("train")),
        benchmark:
            PATHS.benchmark(block.job("train"))
        wildcard_constraints:
            method=block.methods,
        threads: FILES.threads
        resources:
            gpu=FILES.gpu_slots,
        params:
            options=FILES.train_options,
        shell:
            f"{STEP}collabpipe train {{input.recipes:q}} {{params.options}} > {{log:q}} 2>&1"


# Snakemake only knows about GPUs that the user names.
onstart:
    hint = workflow.local_exec and FILES.gpu_hint(
        workflow.global_resources.get("gpu").value
    )
    if hint:
        logger.info(hint)


rule checkpoints:
    input:
        FILES.records("checkpoint"),
