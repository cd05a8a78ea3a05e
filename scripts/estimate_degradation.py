"""Estimate how the archive made its images from the photographs."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    import cv2

    from wbcsr.finetune.estimate import write_estimate

    cv2.setNumThreads(snakemake.threads)
    facts["degradation"] = write_estimate(
        Path(snakemake.input.archive),
        snakemake.params.dataset,
        Path(snakemake.input.sources),
        [Path(manifest) for manifest in snakemake.input.manifests],
        Path(snakemake.output.degradation),
        Path(snakemake.output.candidates),
    )
