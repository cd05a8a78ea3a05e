"""Fine-tune the super-resolution network on the photographs that a split uses only for training."""

from pathlib import Path

from wbcsr.claim import require_claim
from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.finetune.train import FinetuneJob, finetune
    from wbcsr.training.distributed import run

    inputs, outputs = snakemake.input, snakemake.output
    model = Path(outputs.weights)
    checkpoint = Path(outputs.history).with_name("checkpoint.pt")
    summary = run(
        finetune,
        FinetuneJob(
            archive=Path(inputs.archive),
            dataset=snakemake.params.dataset,
            sources=Path(inputs.sources),
            split=Path(inputs.split),
            weights=Path(inputs.weights),
            degradation=Path(inputs.degradation) if inputs.degradation else None,
            settings=snakemake.params.finetune,
            model=model,
            photographs=Path(outputs.photographs),
            history=Path(outputs.history),
            checkpoint=checkpoint,
            threads=snakemake.threads,
        ),
        section="finetune",
        log_file=snakemake.log[0],
    )
    require_claim()
    checkpoint.unlink(missing_ok=True)
    facts.update(vars(summary))
