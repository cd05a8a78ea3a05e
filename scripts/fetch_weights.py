"""Fetch the weights of a super-resolution network and describe them."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.weights.store import fetch

    facts["weights"] = fetch(
        snakemake.wildcards.model,
        snakemake.params.weights,
        Path(snakemake.output.weights),
        Path(snakemake.output.description),
    )
