"""Build the engine of a super-resolution network."""

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.isolated import run_step
    from wbcsr.upscale.compiling import build_engine, load_engine

    inputs, path, log_file = snakemake.input, snakemake.output.engine, snakemake.log[0]
    inference = snakemake.params.inference
    engine = run_step(build_engine, inputs.weights, inputs.images, inference, path, log_file=log_file)
    if engine["profile"]:
        run_step(load_engine, inputs.weights, path, log_file=log_file)
    facts.update(engine=engine, device=engine["device"], precision=engine["precision"])
