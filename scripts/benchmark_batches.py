"""Measure our upscaler by batch size on the machine of this job."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.benchmark.batches import benchmark_batches

    facts.update(
        benchmark_batches(
            Path(snakemake.input.weights),
            [Path(path) for path in snakemake.input.manifests],
            snakemake.params.inference,
            snakemake.params.settings,
            snakemake.threads,
            Path(snakemake.output.csv).parent,
        )
    )
