"""Write the study's tables of our own runs, the comparison with the study, and what it all cost."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.present.tables.write import write_tables
    from wbcsr.study.plan import Plan

    write_tables(
        snakemake.input.images,
        snakemake.input.sources,
        snakemake.input.splits,
        snakemake.input.leakage,
        snakemake.input.predictions,
        snakemake.input.provenances,
        Plan(**dict(snakemake.params.items())),
        Path(snakemake.output[0]).parent,
    )
