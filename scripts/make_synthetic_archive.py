"""Draw the synthetic archive of the demo and the tests."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake):
    from wbcsr.dataset.synthetic.archive import make_synthetic_archive

    settings = snakemake.params.synthetic
    width, height = settings["image_size"]
    make_synthetic_archive(
        Path(snakemake.output[0]),
        snakemake.params.classes,
        image_size=(width, height),
        train_per_class=settings["train_per_class"],
        test_per_class=settings["test_per_class"],
        duplicates_per_source=settings["duplicates_per_source"],
        partitions=snakemake.params.partitions,
        seed=settings["seed"],
    )
