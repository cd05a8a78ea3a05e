"""Make one shard of a variant by shrinking images of the same network's own scale."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.files import sha256
    from wbcsr.upscale.interpolation import Shrinking
    from wbcsr.upscale.shard import upscale_shard

    upscaled = Path(snakemake.input.upscaled)
    made = upscale_shard(
        upscaled,
        Path(snakemake.output.manifest),
        *(1, 1),  # the whole shard
        Shrinking(snakemake.params.factor, snakemake.params.scale, sha256(upscaled)),
        snakemake.threads,
    )
    facts.update(made)
