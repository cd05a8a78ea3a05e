"""Make the classifier of one run ready for this machine, and check what it gives."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.engines import fresh
    from wbcsr.engines.gate import pass_gate

    inputs, outputs, log_file = snakemake.input, snakemake.output, snakemake.log[0]
    engine = {"engine": outputs.engine, "model": inputs.model, "inference": snakemake.params.inference}
    engine["index"] = inputs.index
    facts["engine"] = fresh.run("wbcsr.classify.resnet:build_engine", engine, log_file)
    images = {"array": inputs.array, "split": inputs.split, "classes": list(snakemake.params.classes)}
    facts.update({key: facts["engine"][key] for key in ("device", "precision")})
    facts["quality"] = pass_gate("classifier", engine | images, Path(outputs.quality), log_file)
