"""Upscale one shard of images by interpolation."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.upscale.interpolation import Interpolation
    from wbcsr.upscale.shard import upscale_shard

    made = upscale_shard(
        Path(snakemake.input.originals),
        Path(snakemake.output.manifest),
        int(snakemake.wildcards.shard),
        int(snakemake.wildcards.shards),
        Interpolation(snakemake.params.method, snakemake.params.scale),
        snakemake.threads,
    )
    facts.update(made)
