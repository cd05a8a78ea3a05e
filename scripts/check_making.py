"""Compare the sources with the published method of making the study's images."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.dataset.making import check_making

    facts.update(
        check_making(
            Path(snakemake.input.images),
            Path(snakemake.input.sources),
            Path(snakemake.input.archive),
            snakemake.params.dataset,
            Path(snakemake.output.making),
            snakemake.threads,
        )
    )
