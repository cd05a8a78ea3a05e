"""Train the classifier of one run: split, training variant and seed."""

from pathlib import Path

from wbcsr.claim import require_claim
from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.classify.train import TrainJob, train
    from wbcsr.training.distributed import run

    init = snakemake.input.get("init")
    model = Path(snakemake.output.model)
    checkpoint = model.with_name("checkpoint.pt")
    summary = run(
        train,
        TrainJob(
            arrays=[Path(path) for path in snakemake.input.arrays],
            indexes=[Path(path) for path in snakemake.input.indexes],
            split=Path(snakemake.input.split),
            classes=snakemake.params.classes,
            settings=snakemake.params.train,
            seed=int(snakemake.wildcards.seed),
            init=Path(init) if init else None,
            model=model,
            history=Path(snakemake.output.history),
            checkpoint=checkpoint,
            threads=snakemake.threads,
        ),
        log_file=snakemake.log[0],
    )
    require_claim()
    checkpoint.unlink(missing_ok=True)
    facts.update(vars(summary))
