"""Compare the engine of a classifier with its fp32 network."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.checks.gate import pass_gate
    from wbcsr.files import read_json

    inputs, tolerances = snakemake.input, snakemake.params.tolerances

    def compare():
        from wbcsr.checks.compare import compare_classifier

        files = (Path(inputs[name]) for name in ("engine", "model", "array", "index", "split"))
        return compare_classifier(*files, snakemake.params.classes, tolerances["labels"])

    facts["quality"] = pass_gate(Path(inputs.engine), compare, tolerances, Path(snakemake.output.quality))
    facts["device"] = read_json(inputs.engine)["device"]
