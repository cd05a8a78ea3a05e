"""Measure training, ours and a typical script's, on the machine of this job."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.benchmark.training import benchmark_training

    facts.update(
        benchmark_training(
            [Path(path) for path in snakemake.input.manifests],
            snakemake.params.train,
            snakemake.params.settings,
            snakemake.threads,
            Path(snakemake.output.csv).parent,
        )
    )
