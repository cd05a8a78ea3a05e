"""Both networks of a run as a model repository for NVIDIA Triton Inference Server."""

# Training variants that a network makes: only their classifiers take the images of the served upscaler.
SERVED = [training for training in TRAINING if super_resolved_by(training)]
SERVE = "results/serve/{split}/{training}/seed{seed}"


rule export_model_repository:
    input:
        images=IMAGES,
        weights=lambda wildcards: f"{WEIGHTS}.safetensors".format(model=served_network(wildcards)),
        upscaler_engine=lambda wildcards: f"{ENGINE}/engine.json".format(model=served_network(wildcards)),
        upscaler_quality=lambda wildcards: f"{ENGINE}/quality.json".format(model=served_network(wildcards)),
        model=rules.train_classifier.output.model,
        classifier_engine=rules.compile_classifier.output.engine,
        classifier_quality=rules.check_classifier.output.quality,
    output:
        repository=directory(f"{SERVE}/model_repository"),
        manifest=f"{SERVE}/manifest.json",
        readme=f"{SERVE}/README.md",
    log:
        "logs/export_model_repository/{split}/{training}/seed{seed}.log",
    benchmark:
        "benchmarks/export_model_repository/{split}/{training}/seed{seed}.tsv"
    wildcard_constraints:
        training="|".join(SERVED) or "none",
    conda:
        NETWORKS
    threads: 8
    resources:
        mem_mb=growing(16000),
        runtime=growing(120),
        gpu=1,
    params:
        inference=config["inference"],
        scale=lambda wildcards: parse_variant(super_resolved_by(wildcards.training))[1],
    message:
        "Exporting a model repository: {wildcards.training}, split {wildcards.split}, seed {wildcards.seed}"
    script:
        "../scripts/export_model_repository.py"


rule serve:
    input:
        expand(
            rules.export_model_repository.output.manifest,
            split=config["splits"][0],
            training=SERVED[:1],
            seed=config["seeds"][0],
        ),
