"""Measure the fidelity of upscaling with photographs that were reduced to half their size."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    import torch

    from wbcsr.config import FINETUNED
    from wbcsr.engines.engine import load
    from wbcsr.fidelity.measure import measure_fidelity
    from wbcsr.finetune.photographs import unseen_photographs
    from wbcsr.upscale.upscaler import SuperResolution, source
    from wbcsr.weights import lpips

    torch.set_num_threads(snakemake.threads)
    inputs, params = snakemake.input, snakemake.params
    networks, finetuned, seen = {}, {}, iter(inputs.seen)
    for name, weights, path in zip(params.networks, inputs.weights, inputs.engines, strict=True):
        network, architecture = source(Path(weights))
        engine = load(network, Path(path))
        scale = architecture.scale
        enlarge = SuperResolution(engine, architecture, scale, params.tile, params.overlap)
        if name == FINETUNED:
            unseen = unseen_photographs(Path(inputs.sources), Path(next(seen)))
            finetuned.setdefault(f"{name}_x{scale}", []).append((enlarge, unseen))
        else:
            networks[f"{name}_x{scale}"] = enlarge
        facts.update(device=str(engine.device), precision=engine.precision)
    facts["fidelity"] = measure_fidelity(
        Path(inputs.archive),
        params.dataset,
        params.per_class,
        networks,
        Path(snakemake.output.table),
        Path(snakemake.output.crops),
        params.side,
        lpips.load(Path(inputs.lpips)) if inputs.lpips else None,
        finetuned,
    )
