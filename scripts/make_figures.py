"""Draw the study's figures for our own runs, all confusion matrices, and accuracies compared with the study's."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.present.figures.training import Training
    from wbcsr.present.figures.write import Inputs, write_figures
    from wbcsr.stats.predictions import Run
    from wbcsr.study.plan import Plan

    files, params = snakemake.input, snakemake.params
    tested = zip(params.tested, files.predictions, strict=True)
    trained = zip(params.trained, files.histories, strict=True)
    write_figures(
        Inputs(
            files.splits,
            files.sources,
            [Run(**run, path=Path(path)) for run, path in tested],
            files.differences,
            [Training(**run, history=Path(path)) for run, path in trained],
            files.manifests,
        ),
        Plan(**params.plan),
        Path(snakemake.output[0]).parent,
    )
