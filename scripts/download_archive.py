"""Download the data set's archive from Kaggle, or from a git repository."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake):
    from wbcsr.dataset.download import download_archive
    from wbcsr.dataset.repository import download_repository

    target = Path(snakemake.output[0])
    if git := snakemake.params.get("git"):
        download_repository(git["url"], git["commit"], git["folder"], target)
    else:
        download_archive(snakemake.params.kaggle, target)
