"""Predict the classes of one variant's validation and test images with the classifier of one run."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.classify.predict import predict

    summary = predict(
        Path(snakemake.input.model),
        Path(snakemake.input.engine),
        Path(snakemake.input.array),
        Path(snakemake.input.index),
        Path(snakemake.input.split),
        snakemake.params.classes,
        Path(snakemake.output.predictions),
        snakemake.threads,
    )
    facts.update(vars(summary))
