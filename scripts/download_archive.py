"""Download the data set's archive from Kaggle, or from a git repository."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake):
    from wbcsr.dataset.download import download_archive, keep_archive
    from wbcsr.dataset.repository import download_repository

    target = Path(snakemake.output[0])
    git, kaggle = snakemake.params.get("git"), snakemake.params.get("kaggle")
    if keep_archive(target, git["commit"] if git else kaggle):
        pass
    elif git:
        download_repository(git["url"], git["commit"], git["folder"], target)
    else:
        download_archive(kaggle, target)
