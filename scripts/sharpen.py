"""Upscale one shard of images by bicubic interpolation, and sharpen them."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.files import read_json
    from wbcsr.upscale.interpolation import Sharpening
    from wbcsr.upscale.shard import upscale_shard
    from wbcsr.upscale.store import Storing

    mask = read_json(snakemake.input.sharpening)
    made = upscale_shard(
        Path(snakemake.input.originals),
        Path(snakemake.output.manifest),
        int(snakemake.wildcards.shard),
        int(snakemake.wildcards.shards),
        Sharpening(mask["scale"], mask["sigma"], mask["amount"]),
        snakemake.threads,
        Storing(**snakemake.params.storing),
    )
    facts.update(made)
