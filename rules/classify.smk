"""Packed arrays at the classifier's input size, trained classifiers, and their predictions."""


rule pack_images:
    input:
        images=IMAGES,
        manifests=lambda wildcards: manifests_of(wildcards.variant),
    output:
        array=f"{PACKED}.npy",
        index=f"{PACKED}.csv",
        provenance=f"{PACKED}.provenance.json",
    log:
        "logs/pack_images/{variant}_{size}px.log",
    benchmark:
        "benchmarks/pack_images/{variant}_{size}px.tsv"
    conda:
        "../envs/workflow.yaml"
    threads: 4
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        input_size=lambda wildcards: int(wildcards.size),
    message:
        "Packing {wildcards.variant} at {wildcards.size} px"
    script:
        "../scripts/pack_images.py"


rule train_classifier:
    input:
        unpack(lambda wildcards: packed_for(wildcards.training, wildcards.split)),
        split=rules.split_dataset.output.split,
        init=initial_weights(),
    output:
        model=f"{RUN}/model.safetensors",
        history=f"{RUN}/history.csv",
        provenance=f"{RUN}/provenance.json",
    log:
        "logs/train_classifier/{split}/{training}/seed{seed}.log",
    benchmark:
        "benchmarks/train_classifier/{split}/{training}/seed{seed}.tsv"
    priority: 1
    conda:
        "../envs/workflow.yaml"
    threads: 8 * config["train"]["gpus"]
    resources:
        mem_mb=growing(8000 * config["train"]["gpus"]),
        runtime=growing(480),
        gpu=config["train"]["gpus"],
        nodes=1,
    params:
        classes=CLASSES,
        train=lambda wildcards: training_settings(wildcards.training),
        init=lambda wildcards: content_of(OWN_INIT),
    message:
        "Training on {wildcards.training}, split {wildcards.split}, seed {wildcards.seed}"
    script:
        "../scripts/train_classifier.py"


rule predict:
    input:
        unpack(lambda wildcards: packed(wildcards.variant, wildcards.training, wildcards.split)),
        model=rules.train_classifier.output.model,
        engine=rules.compile_classifier.output.engine,
        # ancient: a changed threshold must be passed, but does not change predictions.
        quality=ancient(f"{RUN_ENGINE}/quality.json"),
        split=rules.split_dataset.output.split,
    output:
        predictions="results/predictions/{split}/{training}/seed{seed}/{variant}.csv",
        provenance="results/predictions/{split}/{training}/seed{seed}/{variant}.provenance.json",
    log:
        "logs/predict/{split}/{training}/seed{seed}/{variant}.log",
    benchmark:
        "benchmarks/predict/{split}/{training}/seed{seed}/{variant}.tsv"
    conda:
        NETWORKS
    threads: 8
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
        gpu=1,
    params:
        classes=CLASSES,
    message:
        "Predicting {wildcards.variant} with the classifier trained on {wildcards.training}, seed {wildcards.seed}"
    script:
        "../scripts/predict.py"
