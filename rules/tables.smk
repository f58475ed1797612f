localrules:
    assemble_tables,


rule assemble_tables:
    input:
        study=PLAN.recipe_file(PLAN.study),
        checkpoints=rules.checkpoints.input,
        evaluations=rules.evaluations.input,
    output:
        report(
            PATHS.tables / "main.csv",
            caption="report/main.rst",
            category="Tables",
            labels={"table": "methods"},
        ),
        [PATHS.tables / name for name in TABLE_FILES if name != "main.csv"],
        report(
            PATHS.figures / "differences.png",
            caption="report/differences.rst",
            category="Figures",
            labels={"figure": "differences"},
        ),
        report(
            PATHS.figures / "curves.png",
            caption="report/curves.rst",
            category="Figures",
            labels={"figure": "training"},
        ),
    log:
        LOGS / "assemble_tables.log",
    benchmark:
        BENCHMARKS / "assemble_tables.tsv"
    shell:
        "collabpipe tables {input.study} > {log} 2>&1"


rule tables:
    input:
        rules.assemble_tables.output,
