"""Draw the curves of the fine-tuning."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake):
    from wbcsr.finetune.figure import write_finetuning_figure

    write_finetuning_figure(
        Path(snakemake.input.history), Path(snakemake.input.summary), Path(snakemake.output.png).parent
    )
