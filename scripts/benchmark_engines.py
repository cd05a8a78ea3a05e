"""Measure both networks by each backend and precision that this machine has."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    import torch

    from wbcsr.benchmark.engines import benchmark_engines

    torch.set_num_threads(snakemake.threads)
    facts.update(
        benchmark_engines(
            [Path(path) for path in snakemake.input.weights],
            [Path(path) for path in snakemake.input.manifests],
            snakemake.params.classes,
            snakemake.params.classifier,
            snakemake.params.input_size,
            snakemake.params.inference,
            snakemake.params.settings,
            snakemake.threads,
            Path(snakemake.output.csv),
            Path(snakemake.output.table),
        )
    )
