"""Fetch the weights of LPIPS."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.weights.lpips import fetch

    facts["weights"] = fetch(Path(snakemake.output.weights))
