"""Draw the study's figures of our own runs, every confusion matrix, and the accuracies beside the study's."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.present.figures.write import write_figures
    from wbcsr.study.plan import Plan

    write_figures(
        snakemake.input.splits,
        snakemake.input.sources,
        snakemake.input.predictions,
        snakemake.input.differences,
        snakemake.input.histories,
        snakemake.input.manifests,
        Plan(**dict(snakemake.params.items())),
        Path(snakemake.output[0]).parent,
    )
