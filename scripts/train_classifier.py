"""Train the classifier of one run: split, training variant and seed."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.classify.train import train

    init = snakemake.input.get("init")
    model = Path(snakemake.output.model)
    checkpoint = model.with_name("checkpoint.pt")
    summary = train(
        [Path(path) for path in snakemake.input.arrays],
        [Path(path) for path in snakemake.input.indexes],
        Path(snakemake.input.split),
        snakemake.params.classes,
        snakemake.params.train,
        int(snakemake.wildcards.seed),
        Path(init) if init else None,
        model,
        Path(snakemake.output.history),
        checkpoint,
        snakemake.threads,
    )
    checkpoint.unlink(missing_ok=True)
    facts.update(vars(summary))
