"""Write the answer of a finished study as a folder that can be published."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake):
    from wbcsr.publish import Inputs, publish

    inputs = snakemake.input
    publish(
        Path(snakemake.output.answer),
        Path(snakemake.scriptdir).parent,
        Inputs(
            tables=[Path(path) for path in [*inputs.tables, *inputs.fidelity] if Path(path).suffix != ".json"],
            figures=[Path(path) for path in inputs.figures],
            provenances=[Path(path) for path in inputs.provenances],
            leakage=Path(inputs.leakage),
            images=Path(inputs.images) if inputs.images else None,
        ),
        snakemake.params.config,
    )
