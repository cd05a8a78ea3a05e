"""Download the data set's archive from Kaggle."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake):
    from wbcsr.dataset.download import download_archive

    download_archive(snakemake.params.kaggle, Path(snakemake.output[0]))
