"""Fetch torchvision's ImageNet weights of ResNet-50."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake):
    from wbcsr.classify.resnet import fetch_imagenet

    fetch_imagenet(Path(snakemake.output.weights))
