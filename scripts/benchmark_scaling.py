"""Measure how time and memory of upscaling grow on the machine that this job runs on."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.engines.fresh import run

    arguments = {
        "weights": snakemake.input.weights,
        "manifests": list(snakemake.input.manifests),
        "inference": snakemake.params.inference,
        "settings": snakemake.params.settings,
        "threads": snakemake.threads,
        "folder": str(Path(snakemake.output.csv).parent),
    }
    # In a fresh process: those that it starts begin by loading this process's program, and this script is not one.
    facts.update(run("wbcsr.benchmark.scaling:benchmark_scaling", arguments, snakemake.log[0]))
