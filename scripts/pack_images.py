"""Pack the images of one variant into an array at the classifier's input size."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.classify.pack import pack

    summary = pack(
        [Path(path) for path in snakemake.input.manifests],
        Path(snakemake.input.images),
        snakemake.params.input_size,
        Path(snakemake.output.array),
        Path(snakemake.output.index),
        snakemake.threads,
    )
    facts.update(vars(summary))
