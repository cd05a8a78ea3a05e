"""Check what this node can run: which backends work, and what is missing."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake):
    from wbcsr.engines.doctor import diagnose

    diagnose(snakemake.params.inference, Path(snakemake.output.findings))
