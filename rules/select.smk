# The choice depends only on the candidates' records and histories. It reads no test image.
rule choose:
    input:
        recipe=lambda w: FILES.recipes(f"choose/{CELL}", **w),
        candidates=lambda w: FILES.reads(f"choose/{CELL}", **w),
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
        FILES.records("choice"),
