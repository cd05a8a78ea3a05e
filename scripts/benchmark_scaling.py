"""Measure how time and memory of upscaling grow, on the machine of this job."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.benchmark.scaling import benchmark_scaling

    facts.update(
        benchmark_scaling(
            Path(snakemake.input.weights),
            [Path(path) for path in snakemake.input.manifests],
            snakemake.params.inference,
            snakemake.params.settings,
            snakemake.threads,
            Path(snakemake.output.csv).parent,
        )
    )
