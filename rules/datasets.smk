# Only fetching needs the internet. Compute nodes often have no access to it.
rule fetch_dataset:
    input:
        recipe=data_recipe,
    output:
        PATHS.raw("{dataset}") / FETCHED,
    log:
        LOGS / "fetch_dataset/{dataset}.log",
    benchmark:
        BENCHMARKS / "fetch_dataset/{dataset}.tsv"
    localrule: True
    params:
        options=lambda w: FILES.fetch_options(w.dataset),
    shell:
        "collabpipe fetch {input.recipe} {params.options} > {log} 2>&1"


rule prepare_dataset:
    input:
        fetched=rules.fetch_dataset.output,
        recipe=rules.fetch_dataset.input.recipe,
    output:
        [PATHS.dataset("{dataset}") / name for name in DATA_FILES],
    log:
        LOGS / "prepare_dataset/{dataset}.log",
    benchmark:
        BENCHMARKS / "prepare_dataset/{dataset}.tsv"
    params:
        options=FILES.options,
    shell:
        "collabpipe prepare {input.recipe} {params.options} > {log} 2>&1"


rule datasets:
    input:
        expand(rules.prepare_dataset.output, dataset=PLAN.settings.datasets),
