"""Make the classifier of one run ready for this machine."""

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.engines.fresh import run

    files = {"engine": snakemake.output.engine, "model": snakemake.input.model}
    settings = {"index": snakemake.input.index, "inference": snakemake.params.inference}
    engine = run("wbcsr.classify.classifiers:build_engine", files | settings, snakemake.log[0])
    if engine["profile"]:
        run("wbcsr.classify.classifiers:try_engine", files, snakemake.log[0])
    facts.update(engine=engine, device=engine["device"], precision=engine["precision"])
