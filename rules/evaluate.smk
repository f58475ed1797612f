for block in FILES.blocks:

    rule:
        name:
            block.rule("evaluate")
        input:
            recipes=lambda w, seeds=block.seeds: FILES.recipe_files(**w, seeds=seeds),
            records=FILES.records(block.seeds),
            test=rules.prepare_dataset.output.test,
            record=rules.prepare_dataset.output.record,
        output:
            FILES.evaluations(block.seeds),
        log:
            LOGS / f"evaluate/{CELL}/block{block.number}.log",
        benchmark:
            BENCHMARKS / f"evaluate/{CELL}/block{block.number}.tsv"
        wildcard_constraints:
            method=block.methods,
        threads: lambda w: PLAN.settings.training_of(w.dataset).threads
        resources:
            gpu=FILES.gpus,
        params:
            options=FILES.evaluate_options,
        shell:
            "collabpipe evaluate {input.recipes} {params.options} > {log} 2>&1"


rule evaluations:
    input:
        FILES.all_metrics,
