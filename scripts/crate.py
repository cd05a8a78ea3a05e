"""Pack the finished study into a Workflow Run RO-Crate."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake):
    from wbcsr.crate import write_crate

    repository = Path(snakemake.scriptdir).parent
    write_crate(Path(snakemake.output.crate), repository, snakemake.input, snakemake.params.config)
