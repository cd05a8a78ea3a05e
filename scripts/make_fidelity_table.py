"""Write the table of the fidelity of upscaling."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.fidelity.table import write_fidelity_table

    write_fidelity_table(
        Path(snakemake.input.measurements), snakemake.params.classes, Path(snakemake.output.csv).parent
    )
