"""Measure the fidelity of upscaling with photographs that were reduced to half their size."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    import torch

    from wbcsr.engines.engine import load
    from wbcsr.fidelity.measure import measure_fidelity
    from wbcsr.upscale.upscaler import SuperResolution, source

    torch.set_num_threads(snakemake.threads)
    inputs, params = snakemake.input, snakemake.params
    networks = {}
    for weights, path in zip(inputs.weights, inputs.engines, strict=True):
        network, architecture = source(Path(weights))
        engine = load(network, Path(path))
        scale = architecture.scale
        networks[scale] = SuperResolution(engine, architecture, scale, params.tile, params.overlap)
        facts.update(device=str(engine.device), precision=engine.precision)
    facts["fidelity"] = measure_fidelity(
        Path(inputs.archive),
        params.limits,
        params.photographs,
        params.classes,
        params.per_class,
        networks,
        Path(snakemake.output.table),
        Path(snakemake.output.crops),
        params.levels,
        params.links,
        params.side,
    )
