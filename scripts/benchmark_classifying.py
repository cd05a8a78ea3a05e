"""Measure class prediction with each backend on the machine of this job."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.benchmark.classifying import benchmark_classifying

    facts.update(
        benchmark_classifying(
            snakemake.params.classifier,
            len(snakemake.params.classes),
            snakemake.params.input_size,
            snakemake.params.inference,
            snakemake.params.settings,
            snakemake.threads,
            Path(snakemake.output.csv).parent,
        )
    )
