"""Draw the curves of the fine-tuning."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake):
    from wbcsr.finetune.figure import write_finetuning_figure

    inputs = snakemake.input
    write_finetuning_figure(
        [Path(history) for history in inputs.histories],
        [Path(summary) for summary in inputs.summaries],
        Path(snakemake.output.png).parent,
    )
