for block in FILES.blocks:

    rule:
        name:
            block.rule("evaluate")
        input:
            recipes=lambda w, job=block.job("evaluate"): FILES.recipes(job, **w),
            made_from=lambda w, job=block.job("evaluate"): FILES.reads(job, **w),
        output:
            FILES.evaluations(block.seeds),
        log:
            PATHS.log(block.job("evaluate")),
        benchmark:
            PATHS.benchmark(block.job("evaluate"))
        wildcard_constraints:
            method=block.methods,
        threads: FILES.threads
        resources:
            gpu=FILES.gpu_slots,
        params:
            options=FILES.evaluate_options,
        shell:
            "collabpipe evaluate {input.recipes:q} {params.options} > {log:q} 2>&1"


# The same on further test sets, which the data sets of the runs name (test_on).
for block in FILES.blocks if PLAN.tests else ():

    rule:
        name:
            block.rule("test")
        input:
            recipes=lambda w, job=block.job("test"): FILES.recipes(job, **w),
            made_from=lambda w, job=block.job("test"): FILES.reads(job, **w),
        output:
            FILES.tests(block.seeds),
        log:
            PATHS.log(block.job("test")),
        benchmark:
            PATHS.benchmark(block.job("test"))
        wildcard_constraints:
            method=block.methods,
        threads: FILES.threads
        resources:
            gpu=FILES.gpu_slots,
        params:
            options=FILES.test_options,
        shell:
            "collabpipe test {input.recipes:q} {params.options} > {log:q} 2>&1"


rule evaluations:
    input:
        FILES.records("evaluation"),
        FILES.records("further evaluation"),
