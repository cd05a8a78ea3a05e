"""Make one shard of a smaller variant from the images that its network upscaled to its own scale."""

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
        *(1, 1),  # of a shard, all
        Shrinking(snakemake.params.factor, snakemake.params.scale, sha256(upscaled)),
        snakemake.threads,
    )
    facts.update(made)
