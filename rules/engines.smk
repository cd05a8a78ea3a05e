"""Networks made ready for one device, precision and shape, and checked before anything relies on them."""


rule compile_upscaler:
    input:
        weights=rules.fetch_weights.output.weights,
        images=rules.ingest_dataset.output.images,
        manifests=manifests_of("original"),
    output:
        engine=f"{ENGINE}/engine.json",
        quality=f"{ENGINE}/quality.json",
        provenance=f"{ENGINE}/provenance.json",
    log:
        "logs/compile_upscaler/{model}.log",
    benchmark:
        "benchmarks/compile_upscaler/{model}.tsv"
    conda:
        NETWORKS
    threads: 8
    resources:
        mem_mb=8000,
        runtime=60,
        gpu=1,
    params:
        inference=config["inference"],
    message:
        "Making {wildcards.model} ready"
    script:
        "../scripts/compile_upscaler.py"


rule compile_classifier:
    input:
        unpack(validation_of_run),
        model=f"{RUN}/model.safetensors",
        split="results/splits/{split}.csv",
    output:
        engine=f"{RUN}/engine/engine.json",
        quality=f"{RUN}/engine/quality.json",
        provenance=f"{RUN}/engine/provenance.json",
    log:
        "logs/compile_classifier/{split}/{training}/seed{seed}.log",
    benchmark:
        "benchmarks/compile_classifier/{split}/{training}/seed{seed}.tsv"
    conda:
        NETWORKS
    threads: 8
    resources:
        mem_mb=8000,
        runtime=60,
        gpu=1,
    params:
        classes=CLASSES,
        inference=config["inference"],
    message:
        "Making the classifier ready that was trained on {wildcards.training}, split {wildcards.split}, seed {wildcards.seed}"
    script:
        "../scripts/compile_classifier.py"
