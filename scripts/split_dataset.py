"""Give each image its subset by one split."""

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.dataset.split import SPLITS
    from wbcsr.files import read_csv, write_csv

    images = read_csv(snakemake.input.images, ["image", "partition", "class"])
    partitions = snakemake.params.dataset["partitions"]
    split = SPLITS[snakemake.wildcards.split](
        images, partitions["train"], partitions["test"], snakemake.params.validation_fraction
    )
    write_csv(snakemake.output.split, split)
    counts = split.assign(name=images["class"]).groupby(["subset", "name"], sort=False).size()
    facts["images"] = {
        subset: {name: int(n) for name, n in part.droplevel(0).items()} for subset, part in counts.groupby(level=0)
    }
