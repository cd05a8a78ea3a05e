"""Ingest the data set: verify its images, describe them and copy them."""

from itertools import product
from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.config import partitions_of
    from wbcsr.dataset.ingest import ingest
    from wbcsr.dataset.state import note, write_record

    dataset = snakemake.params.dataset
    record = Path(snakemake.output.record)
    # Noted before the files are ingested, so that a later change is detected at the next run.
    noted = note(Path(snakemake.input.archive), dataset["links"], dataset["limits"]["files"], record, snakemake.threads)
    partitions = partitions_of(dataset).values()
    manifests = [Path(path) for path in snakemake.output.manifests]
    facts["files"] = ingest(
        Path(snakemake.input.archive),
        dataset,
        Path(snakemake.output.images),
        Path(snakemake.output.rejected),
        manifests[0].parents[2],
        dict(zip(product(partitions, dataset["classes"]), manifests, strict=True)),
        snakemake.threads,
        *(Path(snakemake.input[key]) if snakemake.input.get(key) else None for key in ("listed", "labels")),
    )
    write_record(record, noted)
