"""Make the classifier of one run ready for this machine, and check what it gives."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    import torch

    from wbcsr.classify.resnet import ENGINE_BATCH, source
    from wbcsr.engines.engine import Workload, build
    from wbcsr.engines.gate import pass_gate
    from wbcsr.files import read_csv

    torch.set_num_threads(snakemake.threads)
    inputs, params = snakemake.input, snakemake.params
    network, description = source(Path(inputs.model))
    side, images = description.input_size, len(read_csv(inputs.index, ["image"]))
    facts["engine"] = build(
        network, Path(snakemake.output.engine), Workload({(side, side): images}, ENGINE_BATCH), params.inference
    )
    facts["quality"] = pass_gate(
        "classifier",
        {
            "engine": snakemake.output.engine,
            **{name: inputs[name] for name in ("model", "array", "index", "split")},
            "classes": params.classes,
            "inference": params.inference,
        },
        Path(snakemake.output.quality),
    )
