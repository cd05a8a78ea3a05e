"""Weights of both networks; what is downloaded is downloaded where Snakemake itself runs."""

from wbcsr.weights.releases import model_for_scale


localrules:
    fetch_weights,
    fetch_imagenet_weights,


def model_of(variant):
    """The model of Real-ESRGAN that makes a variant."""
    return model_for_scale(parse_variant(variant)[1], config["weights"]["source"])


rule fetch_weights:
    output:
        weights="results/weights/{model}.safetensors",
        description="results/weights/{model}.json",
    log:
        "logs/fetch_weights/{model}.log",
    wildcard_constraints:
        model="RealESRGAN_x[24]plus|custom",
    params:
        weights=config["weights"],
    message:
        "Fetching the weights {wildcards.model} ({params.weights[source]})"
    script:
        "../scripts/fetch_weights.py"


rule fetch_imagenet_weights:
    output:
        weights="results/weights/resnet50_imagenet.safetensors",
    log:
        "logs/fetch_imagenet_weights/resnet50.log",
    message:
        "Downloading ResNet-50's ImageNet weights"
    script:
        "../scripts/fetch_imagenet_weights.py"
