"""Measure training by ours and by the usual script on the machine that this job runs on."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.engines.fresh import run

    arguments = {
        "manifests": list(snakemake.input.manifests),
        "train": snakemake.params.train,
        "settings": snakemake.params.settings,
        "threads": snakemake.threads,
        "folder": str(Path(snakemake.output.csv).parent),
    }
    # In a fresh process: those that it starts begin by loading this process's program, and this script is not one.
    facts.update(run("wbcsr.benchmark.training:benchmark_training", arguments, snakemake.log[0]))
