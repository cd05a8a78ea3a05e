"""Make one shard of the variant ceiling: the photographs in the frames of their images, at twice the size."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.upscale.ceiling import make_ceiling
    from wbcsr.upscale.store import Storing

    made = make_ceiling(
        Path(snakemake.input.originals),
        Path(snakemake.input.whole),
        Path(snakemake.input.sources),
        Path(snakemake.input.cells) if snakemake.input.get("cells") else None,
        Path(snakemake.input.archive),
        snakemake.params.dataset,
        Path(snakemake.output.manifest),
        int(snakemake.wildcards.shard),
        int(snakemake.wildcards.shards),
        snakemake.threads,
        Storing(**snakemake.params.storing),
    )
    facts.update(made)
