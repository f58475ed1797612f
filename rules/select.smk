# The choice depends only on the candidates' records and histories. It reads no test image.
rule choose:
    input:
        recipe=lambda w: FILES.recipes(f"choose/{CELL}", **w),
        candidates=lambda w: FILES.reads(f"choose/{CELL}", **w),
    output:
        PATHS.choice("{dataset}", "{noise}", "{network}", "{method}"),
    log:
        PATHS.log(f"choose/{CELL}"),
    benchmark:
        PATHS.benchmark(f"choose/{CELL}")
    localrule: True
    params:
        options=FILES.choose_options,
    shell:
        "collabpipe choose {input.recipe:q} {params.options} > {log:q} 2>&1"


rule choices:
    input:
        FILES.records("choice"),
