"""Find out what this node can do: which backends really run, and what is missing."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake):
    from wbcsr.engines.doctor import diagnose

    diagnose(snakemake.params.inference, Path(snakemake.output.findings))
