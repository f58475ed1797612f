from pathlib import Path

from collabpipe.plan.figures import FIGURES
from collabpipe.plan.paths import (
    CLAIMS_CSV,
    MAIN_CSV,
    NOISE_CSV,
    OVERHEAD_CSV,
    OVERHEAD_MD,
    OVERHEAD_RECORD,
    RECORD,
    REPORT_RECORD,
    TABLE_FILES,
    VARIANCE_CSV,
)


# Measured times would mean nothing while trainings run, so this rule waits for all of them. Earlier measurements come
# from the store. (`ancient` does not work here: if evaluations run again, Snakemake 9.27 skips a job whose recipe is
# newer.)
rule measure_overhead:
    input:
        recipe=FILES.recipes("measure_overhead"),
        made_from=FILES.reads("measure_overhead"),
    output:
        report(
            PATHS.overhead / OVERHEAD_CSV,
            caption="report/costs.rst",
            category="Tables",
            labels={"table": "overhead"},
        ),
        [PATHS.overhead / name for name in (OVERHEAD_MD, OVERHEAD_RECORD)],
    log:
        PATHS.log("measure_overhead"),
    benchmark:
        PATHS.benchmark("measure_overhead")
    threads: PLAN.overhead.training.threads
    resources:
        gpu=FILES.gpu_slots,
    params:
        options=FILES.overhead_options,
    shell:
        "collabpipe overhead {input.recipe:q} {params.options} > {log:q} 2>&1"


# By file: what the report that Snakemake writes calls them.
SHOWN_TABLES = {
    MAIN_CSV: "methods",
    CLAIMS_CSV: "claims",
    NOISE_CSV: "label noise",
    VARIANCE_CSV: "variance",
}


rule assemble_tables:
    input:
        study=FILES.recipes("assemble_tables"),
        made_from=FILES.reads("assemble_tables"),
    output:
        [
            report(
                PATHS.tables / name,
                caption=f"report/{Path(name).stem}.rst",
                category="Tables",
                labels={"table": title},
            )
            for name, title in SHOWN_TABLES.items()
        ],
        [PATHS.tables / name for name in TABLE_FILES if name not in SHOWN_TABLES],
    log:
        PATHS.log("assemble_tables"),
    benchmark:
        PATHS.benchmark("assemble_tables")
    localrule: True
    params:
        options=FILES.options,
    shell:
        "collabpipe tables {input.study:q} {params.options} > {log:q} 2>&1"


# A separate job, because Snakemake removes the outputs of a failed job: a failed figure must not remove the tables.
rule draw_figures:
    input:
        study=FILES.recipes("draw_figures"),
        tables=FILES.reads("draw_figures"),
    output:
        [
            report(
                PATHS.figures / figure.svg,
                caption=f"report/{figure.name}.rst",
                category="Figures",
                labels={"figure": figure.title},
            )
            for figure in FIGURES
        ],
        [PATHS.figures / figure.png for figure in FIGURES],
        PATHS.figures / RECORD,
    log:
        PATHS.log("draw_figures"),
    benchmark:
        PATHS.benchmark("draw_figures")
    localrule: True
    params:
        options=FILES.options,
    shell:
        "collabpipe figures {input.study:q} {params.options} > {log:q} 2>&1"


rule tables:
    input:
        rules.assemble_tables.output,
        rules.draw_figures.output,


rule write_report:
    input:
        study=FILES.recipes("write_report"),
        shown=FILES.reads("write_report"),
    output:
        report(
            PATHS.report,
            caption="report/page.rst",
            category="Page",
            labels={"page": "verdicts, tables, figures, runs"},
        ),
        PATHS.folder / REPORT_RECORD,
    log:
        PATHS.log("write_report"),
    benchmark:
        PATHS.benchmark("write_report")
    localrule: True
    params:
        options=FILES.options,
    shell:
        "collabpipe report {input.study:q} {params.options} > {log:q} 2>&1"


rule report:
    input:
        rules.write_report.output,
