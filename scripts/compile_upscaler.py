"""Make the super-resolution network of one model ready for this machine, and check what it gives."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.engines import fresh
    from wbcsr.engines.gate import pass_gate

    inputs, outputs, log_file = snakemake.input, snakemake.output, snakemake.log[0]
    engine = {"engine": outputs.engine, "weights": inputs.weights, "inference": snakemake.params.inference}
    facts["engine"] = fresh.run("wbcsr.upscale.upscaler:build_engine", engine | {"images": inputs.images}, log_file)
    facts.update({key: facts["engine"][key] for key in ("device", "precision")})
    facts["quality"] = pass_gate(
        "upscaler", engine | {"manifests": list(inputs.manifests)}, Path(outputs.quality), log_file
    )
