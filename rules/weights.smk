"""Weights of all networks; downloads run where Snakemake itself runs."""


localrules:
    fetch_weights,
    fetch_imagenet_weights,
    fetch_lpips_weights,


rule fetch_weights:
    output:
        weights=f"{WEIGHTS}.safetensors",
        description=f"{WEIGHTS}.json",
    log:
        "logs/fetch_weights/{model}.log",
    wildcard_constraints:
        model="|".join(["RealESRGAN_x[24]plus", "custom", *config["models"]]),
    conda:
        "../envs/workflow.yaml"
    params:
        weights=weights_settings,
    message:
        "Fetching the weights {wildcards.model} ({params.weights[source]})"
    script:
        "../scripts/fetch_weights.py"


rule fetch_imagenet_weights:
    output:
        weights="results/weights/{classifier}_imagenet.safetensors",
        provenance="results/weights/{classifier}_imagenet.provenance.json",
    log:
        "logs/fetch_imagenet_weights/{classifier}.log",
    wildcard_constraints:
        classifier=IMAGENET_NETWORK,
    conda:
        "../envs/workflow.yaml"
    message:
        "Downloading the ImageNet weights of {wildcards.classifier}"
    script:
        "../scripts/fetch_imagenet_weights.py"


rule fetch_lpips_weights:
    output:
        weights="results/weights/lpips_alexnet.safetensors",
        provenance="results/weights/lpips_alexnet.provenance.json",
    log:
        "logs/fetch_lpips_weights/lpips_alexnet.log",
    conda:
        "../envs/workflow.yaml"
    message:
        "Downloading the weights of LPIPS"
    script:
        "../scripts/fetch_lpips_weights.py"
