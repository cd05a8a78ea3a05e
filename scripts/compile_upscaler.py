"""Make the super-resolution network of one variant ready for this machine."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.engines.engine import Workload, build
    from wbcsr.files import read_csv

    images = read_csv(snakemake.input.images, ["image", "width", "height"])
    height, width = images.groupby(["height", "width"]).size().idxmax()
    facts["engine"] = build(
        Path(snakemake.input.weights),
        Path(snakemake.output.engine),
        Workload(shape=(int(height), int(width)), images=len(images)),
        snakemake.params.inference,
    )
