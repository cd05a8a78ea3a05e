"""Draw one cell of each class beside its upscaled versions, and where they differ from it."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.fidelity.figure import write_fidelity_figure

    write_fidelity_figure(Path(snakemake.input.crops), Path(snakemake.output.png).parent)
