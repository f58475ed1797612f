rule noisy_labels:
    input:
        recipe=lambda w: FILES.recipe_file(PLAN.labels[w.dataset, w.noise, int(w.seed)]),
        train=rules.prepare_dataset.output.train,
        annotations=rules.prepare_dataset.output.annotations,
        record=rules.prepare_dataset.output.record,
    output:
        labels=PATHS.label_file("{dataset}", "{noise}", "{seed}"),
        record=PATHS.label_file("{dataset}", "{noise}", "{seed}").with_suffix(".json"),
    log:
        LOGS / "noisy_labels/{dataset}/{noise}/seed{seed}.log",
    benchmark:
        BENCHMARKS / "noisy_labels/{dataset}/{noise}/seed{seed}.tsv"
    params:
        options=FILES.options,
    shell:
        # The output also goes to the terminal: it warns of classes without validation images, which is no error.
        "collabpipe labels {input.recipe} {params.options} 2>&1 | tee {log} >&2"


rule labels:
    input:
        FILES.label_files,
