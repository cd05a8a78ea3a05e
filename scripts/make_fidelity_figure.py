"""Draw one cell of each class, its upscaled versions, and their differences from the original."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.fidelity.figure import write_fidelity_figure

    write_fidelity_figure(Path(snakemake.input.crops), Path(snakemake.output.png).parent)
