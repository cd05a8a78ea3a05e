"""Find the photograph that each image was made from."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.dataset.sources import find_sources

    facts.update(
        find_sources(
            Path(snakemake.input.images),
            [Path(path) for path in snakemake.input.manifests],
            Path(snakemake.input.archive),
            snakemake.params.sources,
            snakemake.params.dataset,
            Path(snakemake.output.sources),
            snakemake.threads,
            Path(snakemake.input.labels) if snakemake.input.get("labels") else None,
        )
    )
