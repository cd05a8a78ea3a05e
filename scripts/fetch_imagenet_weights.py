"""Fetch the ImageNet weights of a classifier."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.classify.classifiers import fetch_imagenet

    facts["weights"] = fetch_imagenet(snakemake.wildcards.classifier, Path(snakemake.output.weights))
