"""Draw crops of each class, and those with the lowest score of the finder."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake):
    from wbcsr.present.figures.cuts import write_cuts_figure

    write_cuts_figure(
        Path(snakemake.input.cells),
        Path(snakemake.input.sources),
        snakemake.input.cuts,
        snakemake.params.classes,
        Path(snakemake.output.png).parent,
    )
