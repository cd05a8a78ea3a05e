"""Count, for every split, the validation and test images whose source was used for training."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake):
    import pandas as pd

    from wbcsr.dataset.split import leakage
    from wbcsr.files import read_csv, write_csv

    images = read_csv(snakemake.input.images, ["image", "class"])
    sources = read_csv(snakemake.input.sources, ["image", "source"])
    splits = {Path(path).stem: read_csv(path, ["image", "subset"]) for path in snakemake.input.splits}
    audited = [leakage(name, images, sources, split) for name, split in splits.items()]
    write_csv(snakemake.output.leakage, pd.concat(audited))
