"""Write the study's tables for our own runs, the comparison with the study, and the costs."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.present.tables.write import write_tables
    from wbcsr.stats.predictions import Run
    from wbcsr.study.plan import Plan

    tested = zip(snakemake.params.tested, snakemake.input.predictions, strict=True)
    write_tables(
        snakemake.input.images,
        snakemake.input.sources,
        snakemake.input.splits,
        snakemake.input.leakage,
        [Run(**run, path=Path(path)) for run, path in tested],
        snakemake.input.provenances,
        Plan(**snakemake.params.plan),
        Path(snakemake.output[0]).parent,
    )
