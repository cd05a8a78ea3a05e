"""Write the networks of one run as a model repository for NVIDIA Triton Inference Server."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake):
    import torch

    from wbcsr.serve.repository import export_repository

    torch.set_num_threads(snakemake.threads)
    inputs, outputs = snakemake.input, snakemake.output
    export_repository(
        Path(inputs.weights),
        Path(inputs.upscaler_engine),
        Path(inputs.model),
        Path(inputs.classifier_engine),
        Path(inputs.images),
        snakemake.params.scale,
        snakemake.params.inference,
        Path(outputs.repository),
        Path(outputs.manifest),
    )
