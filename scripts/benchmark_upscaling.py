"""Measure upscaling, ours and that of other programs, on the machine of this job."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.benchmark.upscaling import benchmark_upscaling

    facts.update(
        benchmark_upscaling(
            Path(snakemake.input.weights),
            [Path(path) for path in snakemake.input.manifests],
            snakemake.params.inference,
            snakemake.params.settings,
            snakemake.threads,
            Path(snakemake.output.csv).parent,
        )
    )
