for block, seeds in PLAN.blocks.items():

    rule:
        name:
            f"evaluate_{block}"
        input:
            recipes=lambda w, seeds=seeds: PLAN.recipe_files(**w, seeds=seeds),
            checkpoints=PLAN.run_files(CHECKPOINT_FILES, seeds),
            test=rules.prepare_dataset.output.test,
            record=rules.prepare_dataset.output.record,
        output:
            PLAN.run_files(EVALUATION_FILES, seeds),
        log:
            LOGS / f"evaluate/{CELL}/block{block}.log",
        benchmark:
            BENCHMARKS / f"evaluate/{CELL}/block{block}.tsv"
        threads: PLAN.settings.training.threads
        shell:
            "collabpipe evaluate {input.recipes} > {log} 2>&1"


rule evaluations:
    input:
        expand(PLAN.run_files(EVALUATION_FILES), **PLAN.entities),
