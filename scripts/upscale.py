"""Upscale one shard of images with a super-resolution network."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    import torch

    from wbcsr.engines.engine import load
    from wbcsr.upscale.shard import upscale_shard
    from wbcsr.upscale.store import Storing
    from wbcsr.upscale.upscaler import SuperResolution, source

    torch.set_num_threads(snakemake.threads)
    network, architecture = source(Path(snakemake.input.weights))
    engine = load(network, Path(snakemake.input.engine))
    facts.update(device=str(engine.device), precision=engine.precision)
    made = upscale_shard(
        Path(snakemake.input.originals),
        Path(snakemake.output.manifest),
        int(snakemake.wildcards.shard),
        int(snakemake.wildcards.shards),
        SuperResolution(engine, architecture, snakemake.params.scale, snakemake.params.tile, snakemake.params.overlap),
        snakemake.threads,
        Storing(**snakemake.params.storing),
    )
    facts.update(made)
