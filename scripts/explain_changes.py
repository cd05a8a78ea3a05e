"""List the cells whose label differs between original and super-resolved images, and draw Grad-CAM maps."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.explain.explain import Trained, explain_changes

    inputs, seeds = snakemake.input, snakemake.params.seeds
    predictions = [dict(zip(seeds, map(Path, paths), strict=True)) for paths in (inputs.original, inputs.enhanced)]
    original, enhanced = (
        Trained(variant, Path(model), Path(array), Path(index), by_seed)
        for variant, model, array, index, by_seed in zip(
            snakemake.params.variants, inputs.models, inputs.arrays, inputs.indexes, predictions, strict=True
        )
    )
    summary = explain_changes(
        original,
        enhanced,
        Path(inputs.split[0]),
        Path(inputs.images),
        Path(inputs.sources),
        snakemake.params.classes,
        snakemake.params.images,
        Path(snakemake.output.changes),
        Path(snakemake.output.counts),
        Path(snakemake.output.png[0]).parent,
        snakemake.threads,
    )
    facts.update(vars(summary))
