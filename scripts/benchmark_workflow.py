"""Measure the overhead of the workflow itself."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.benchmark.workflow import benchmark_workflow

    folder = Path(snakemake.output.csv).parent
    snakefile = Path(snakemake.scriptdir).parent / "Snakefile"
    facts.update(benchmark_workflow(str(snakefile), snakemake.params.settings, folder))
