"""Crop a square around the white cell of each image."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.cells.cut import cut_cells

    facts["cells"] = cut_cells(
        Path(snakemake.input.images),
        Path(snakemake.input.sources),
        Path(snakemake.input.rejected),
        [Path(path) for path in snakemake.input.whole],
        snakemake.params.side,
        snakemake.params.reduce_to,
        snakemake.params.one_cell,
        snakemake.params.keep_border_cells,
        Path(snakemake.output.cells).parent,
        [Path(path) for path in snakemake.output.cuts],
        snakemake.threads,
    )
