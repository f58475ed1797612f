rule noisy_labels:
    input:
        recipe=lambda w: FILES.recipes("noisy_labels/{dataset}/{noise}/seed{seed}", **w),
        made_from=lambda w: FILES.reads(
            "noisy_labels/{dataset}/{noise}/seed{seed}", **w
        ),
    output:
        labels=PATHS.label_file("{dataset}", "{noise}", "{seed}"),
        record=PATHS.label_file("{dataset}", "{noise}", "{seed}").with_suffix(".json"),
    log:
        PATHS.log("noisy_labels/{dataset}/{noise}/seed{seed}"),
    benchmark:
        PATHS.benchmark("noisy_labels/{dataset}/{noise}/seed{seed}")
    params:
        options=lambda w: FILES.label_options(**w),
    shell:
        # The output also goes to the terminal: it warns of classes without validation images, which is no error.
        "collabpipe labels {input.recipe:q} {params.options} 2>&1 | tee {log:q} >&2"


rule labels:
    input:
        FILES.records("label file"),
