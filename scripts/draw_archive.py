"""Draw the archive of the demo and the tests."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake):
    from wbcsr.dataset.smear import draw_archive

    drawing = snakemake.params.drawing
    width, height = drawing["image_size"]
    draw_archive(
        Path(snakemake.output[0]),
        snakemake.params.classes,
        image_size=(width, height),
        train_per_class=drawing["train_per_class"],
        test_per_class=drawing["test_per_class"],
        copies_per_source=drawing["copies_per_source"],
        partitions=snakemake.params.partitions,
        seed=drawing["seed"],
    )
