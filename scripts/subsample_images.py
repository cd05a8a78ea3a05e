"""Subsample images of as many sources as possible, for a small study."""

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.dataset.subsample import subsample_images
    from wbcsr.files import read_csv, write_csv

    images = read_csv(snakemake.input.images, ["image", "partition", "class"])
    sources = read_csv(snakemake.input.sources, ["image", "source"])
    chosen = subsample_images(images, sources, **dict(snakemake.params.items()))
    write_csv(snakemake.output.chosen, chosen)
    facts["images"] = len(chosen)
