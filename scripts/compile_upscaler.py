"""Make the super-resolution network of one model ready for this machine, and check what it gives."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    import torch

    from wbcsr.engines.engine import Workload, build
    from wbcsr.engines.gate import pass_gate
    from wbcsr.files import read_csv
    from wbcsr.upscale.upscaler import batches, source

    torch.set_num_threads(snakemake.threads)
    inputs, inference = snakemake.input, snakemake.params.inference
    network, _ = source(Path(inputs.weights))
    sizes = read_csv(inputs.images, ["image", "width", "height"]).groupby(["height", "width"]).size()
    workload = Workload({(int(height), int(width)): int(n) for (height, width), n in sizes.items()}, batches(inference))
    facts["engine"] = build(network, Path(snakemake.output.engine), workload, inference)
    facts["quality"] = pass_gate(
        "upscaler",
        {
            "engine": snakemake.output.engine,
            "weights": inputs.weights,
            "manifests": list(inputs.manifests),
            "inference": inference,
        },
        Path(snakemake.output.quality),
    )
