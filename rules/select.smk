# The choice depends only on the candidates' records and histories. It reads no test image.
rule choose:
    input:
        recipe=lambda w: FILES.recipe_file(PLAN.selections[tuple(w)]),
        candidates=lambda w: FILES.candidate_files(**w),
    output:
        PATHS.choice("{dataset}", "{noise}", "{network}", "{method}"),
    log:
        LOGS / f"choose/{CELL}.log",
    benchmark:
        BENCHMARKS / f"choose/{CELL}.tsv"
    localrule: True
    params:
        options=FILES.choose_options,
    shell:
        "collabpipe choose {input.recipe} {params.options} > {log} 2>&1"


rule choices:
    input:
        [PATHS.choice(*key) for key in PLAN.selections],
