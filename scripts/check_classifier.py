"""Hold the engine of a classifier against its network as it is in fp32."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.checks.gate import pass_gate
    from wbcsr.files import read_json

    inputs, gate = snakemake.input, snakemake.params.gate

    def compare():
        from wbcsr.checks.compare import compare_classifier

        files = (Path(inputs[name]) for name in ("engine", "model", "array", "index", "split"))
        return compare_classifier(*files, snakemake.params.classes, gate["labels"])

    facts["quality"] = pass_gate(Path(inputs.engine), compare, gate, Path(snakemake.output.quality))
    facts["device"] = read_json(inputs.engine)["device"]
