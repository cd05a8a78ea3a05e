"""Draw the archive of the demo and the tests."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake):
    from wbcsr.dataset.smear import draw_archive

    drawing, dataset = snakemake.params.drawing, snakemake.params.dataset
    width, height = drawing["image_size"]
    draw_archive(
        Path(snakemake.output[0]),
        dataset["classes"],
        image_size=(width, height),
        train_per_class=drawing["train_per_class"],
        test_per_class=drawing["test_per_class"],
        copies_per_source=drawing["copies_per_source"],
        partitions=(dataset["partitions"]["train"], dataset["partitions"]["test"]),
        seed=drawing["seed"],
    )
