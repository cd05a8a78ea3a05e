"""Give each image its subset by one split."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.config import parse_split
    from wbcsr.dataset.split import by_source_split, custom_split, paper_split, published_split
    from wbcsr.files import read_csv, write_csv

    images = read_csv(snakemake.input.images, ["image", "partition", "class"])
    settings = snakemake.params.settings
    rule, fold = parse_split(snakemake.wildcards.split)
    if rule == "by_source":
        sources = read_csv(snakemake.input.sources, ["image", "source"])
        split = by_source_split(images, sources, settings["parts"], fold)
    elif rule == "custom":
        split = custom_split(images, Path(snakemake.input.custom))
    elif rule == "published":
        split = published_split(images, settings["partitions"])
    else:
        partitions = settings["partitions"]
        split = paper_split(images, partitions["train"], partitions["test"], settings["validation_fraction"])
    write_csv(snakemake.output.split, split)
    counts = split.assign(name=images["class"]).groupby(["subset", "name"], sort=False).size()
    facts["images"] = {
        subset: {name: int(n) for name, n in part.droplevel(0).items()}
        for subset, part in counts.groupby(level=0)
        if subset
    }
    facts["left_out"] = int((split["subset"] == "").sum())
