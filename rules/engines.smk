"""Engines: networks prepared for one device, precision and shape, and checked before they are used."""

# Without the thresholds of the quality check, which do not affect an engine.
BUILDING = {key: value for key, value in config["inference"].items() if key != "tolerances"}


rule compile_upscaler:
    input:
        weights=rules.fetch_weights.output.weights,
        images=IMAGES,
    output:
        engine=f"{ENGINE}/engine.json",
        provenance=f"{ENGINE}/provenance.json",
    log:
        "logs/compile_upscaler/{model}.log",
    benchmark:
        "benchmarks/compile_upscaler/{model}.tsv"
    # The longest chain of jobs starts first: this rule, its check, upscaling; then training.
    priority: 2
    conda:
        NETWORKS
    threads: 8
    resources:
        mem_mb=growing(8000),
        runtime=growing(60),
        gpu=1,
    params:
        inference=BUILDING,
    message:
        "Building the engine of {wildcards.model}"
    script:
        "../scripts/compile_upscaler.py"


rule check_upscaler:
    input:
        engine=rules.compile_upscaler.output.engine,
        weights=rules.fetch_weights.output.weights,
        manifests=manifests_of("original"),
    output:
        quality=f"{ENGINE}/quality.json",
        provenance=f"{ENGINE}/quality.provenance.json",
    log:
        "logs/check_upscaler/{model}.log",
    benchmark:
        "benchmarks/check_upscaler/{model}.tsv"
    priority: 2
    conda:
        NETWORKS
    threads: 8
    resources:
        mem_mb=growing(8000),
        runtime=growing(60),
        gpu=1,
    params:
        tolerances=config["inference"]["tolerances"],
    message:
        "Comparing {wildcards.model} with the fp32 network"
    script:
        "../scripts/check_upscaler.py"


rule compile_classifier:
    input:
        model=f"{RUN}/model.safetensors",
        index=lambda wildcards: validation_of_run(wildcards)["index"],
    output:
        engine=f"{RUN_ENGINE}/engine.json",
        provenance=f"{RUN_ENGINE}/provenance.json",
    log:
        "logs/compile_classifier/{split}/{training}/seed{seed}.log",
    benchmark:
        "benchmarks/compile_classifier/{split}/{training}/seed{seed}.tsv"
    conda:
        NETWORKS
    threads: 8
    resources:
        mem_mb=growing(8000),
        runtime=growing(30),
        gpu=1,
    params:
        inference=BUILDING,
    message:
        "Building the engine of the classifier: {wildcards.training}, split {wildcards.split}, seed {wildcards.seed}"
    script:
        "../scripts/compile_classifier.py"


rule check_classifier:
    input:
        unpack(validation_of_run),
        engine=rules.compile_classifier.output.engine,
        model=f"{RUN}/model.safetensors",
        split="results/splits/{split}.csv",
    output:
        quality=f"{RUN_ENGINE}/quality.json",
        provenance=f"{RUN_ENGINE}/quality.provenance.json",
    log:
        "logs/check_classifier/{split}/{training}/seed{seed}.log",
    benchmark:
        "benchmarks/check_classifier/{split}/{training}/seed{seed}.tsv"
    conda:
        NETWORKS
    threads: 8
    resources:
        mem_mb=growing(8000),
        runtime=growing(30),
        gpu=1,
    params:
        classes=CLASSES,
        tolerances=config["inference"]["tolerances"],
    message:
        "Comparing the classifier with the fp32 network: {wildcards.training}, split {wildcards.split}, seed {wildcards.seed}"
    script:
        "../scripts/check_classifier.py"
