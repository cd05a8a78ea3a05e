"""Fit the unsharp mask that makes bicubic images as sharp as Real-ESRGAN's."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.upscale.sharpening import match_sharpening

    facts["sharpening"] = match_sharpening(
        [Path(path) for path in snakemake.input.originals],
        [Path(path) for path in snakemake.input.upscaled],
        snakemake.params.scale,
        Path(snakemake.output.sharpening),
    )
