"""Resize one shard of images by interpolation."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.upscale.interpolation import Interpolation, Reduction
    from wbcsr.upscale.shard import upscale_shard
    from wbcsr.upscale.store import Storing

    method, scale = snakemake.params.method, snakemake.params.scale
    made = upscale_shard(
        Path(snakemake.input.originals),
        Path(snakemake.output.manifest),
        int(snakemake.wildcards.shard),
        int(snakemake.wildcards.shards),
        Reduction(scale) if method == "reduced" else Interpolation(method, scale),
        snakemake.threads,
        Storing(**snakemake.params.storing),
    )
    facts.update(made)
