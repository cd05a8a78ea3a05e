"""Compare the engine of a super-resolution network with its fp32 network."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.checks.gate import pass_gate
    from wbcsr.files import read_json

    inputs, tolerances = snakemake.input, snakemake.params.tolerances

    def compare():
        from wbcsr.checks.compare import compare_upscaler

        manifests = [Path(path) for path in inputs.manifests]
        return compare_upscaler(Path(inputs.engine), Path(inputs.weights), manifests, tolerances["images"])

    facts["quality"] = pass_gate(Path(inputs.engine), compare, tolerances, Path(snakemake.output.quality))
    facts["device"] = read_json(inputs.engine)["device"]
