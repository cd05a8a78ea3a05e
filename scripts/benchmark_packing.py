"""Measure packing, ours and torchvision's, on the machine of this job."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.benchmark.packing import benchmark_packing

    facts.update(
        benchmark_packing(
            [Path(path) for path in snakemake.input.manifests],
            snakemake.params.input_size,
            snakemake.params.settings,
            snakemake.threads,
            Path(snakemake.output.csv).parent,
        )
    )
