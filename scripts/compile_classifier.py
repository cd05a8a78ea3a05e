"""Build the engine of the classifier of one run."""

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.classify.compiling import build_engine, load_engine
    from wbcsr.isolated import run_step

    inputs, path, log_file = snakemake.input, snakemake.output.engine, snakemake.log[0]
    inference = snakemake.params.inference
    engine = run_step(build_engine, inputs.model, inputs.index, inference, path, log_file=log_file)
    if engine["profile"]:
        run_step(load_engine, inputs.model, path, log_file=log_file)
    facts.update(engine=engine, device=engine["device"], precision=engine["precision"])
