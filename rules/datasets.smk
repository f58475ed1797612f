from collabpipe.plan.paths import DATA_FILES, FETCHED


# Only fetching needs the internet. Compute nodes often have no access to it.
rule fetch_dataset:
    input:
        recipe=data_recipe,
    output:
        PATHS.raw("{dataset}") / FETCHED,
    log:
        PATHS.log("fetch_dataset/{dataset}"),
    benchmark:
        PATHS.benchmark("fetch_dataset/{dataset}")
    localrule: True
    params:
        options=lambda w: FILES.fetch_options(w.dataset),
    shell:
        "collabpipe fetch {input.recipe:q} {params.options} > {log:q} 2>&1"


rule prepare_dataset:
    input:
        fetched=rules.fetch_dataset.output,
        recipe=rules.fetch_dataset.input.recipe,
    output:
        [PATHS.dataset("{dataset}") / name for name in DATA_FILES],
    log:
        PATHS.log("prepare_dataset/{dataset}"),
    benchmark:
        PATHS.benchmark("prepare_dataset/{dataset}")
    params:
        options=FILES.shared_options,
    shell:
        "collabpipe prepare {input.recipe:q} {params.options} > {log:q} 2>&1"


rule datasets:
    input:
        expand(rules.prepare_dataset.output, dataset=PLAN.data),
