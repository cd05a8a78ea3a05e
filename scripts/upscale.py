"""Enlarge one shard of images by Real-ESRGAN."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    import torch

    from wbcsr.engines.engine import load
    from wbcsr.upscale.shard import enlarge_shard
    from wbcsr.upscale.upscaler import SuperResolution, source

    torch.set_num_threads(snakemake.threads)
    inference = snakemake.params.inference
    network, architecture = source(Path(snakemake.input.weights))
    engine = load(network, Path(snakemake.input.engine), inference)
    facts["upscaling"] = enlarge_shard(
        Path(snakemake.input.originals),
        Path(snakemake.output.manifest),
        int(snakemake.wildcards.shard),
        int(snakemake.wildcards.shards),
        SuperResolution(engine, architecture, snakemake.params.scale, inference["tile"], inference["overlap"]),
        snakemake.threads,
    )
