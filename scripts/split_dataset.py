"""Assign each image to a subset according to one split."""

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.dataset.split import count_subsets, split_images
    from wbcsr.files import read_csv, write_csv

    inputs, split = snakemake.input, snakemake.wildcards.split
    images = read_csv(inputs.images, ["image", "partition", "class"])
    table = split_images(images, split, snakemake.params.settings, inputs.sources, inputs.custom)
    write_csv(snakemake.output.split, table)
    facts |= count_subsets(images, table)
