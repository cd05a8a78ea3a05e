"""Make the super-resolution network of one model ready for this machine."""

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.engines.fresh import run

    files = {"engine": snakemake.output.engine, "weights": snakemake.input.weights}
    settings = {"images": snakemake.input.images, "inference": snakemake.params.inference}
    engine = run("wbcsr.upscale.upscaler:build_engine", files | settings, snakemake.log[0])
    if engine["profile"]:
        run("wbcsr.upscale.upscaler:try_engine", files, snakemake.log[0])
    facts.update(engine=engine, device=engine["device"], precision=engine["precision"])
