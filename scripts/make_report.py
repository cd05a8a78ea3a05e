"""Write the report, a page with the answer."""

from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    from wbcsr.report.page import Inputs, write_page

    inputs = snakemake.input
    write_page(
        Path(snakemake.output.page),
        Inputs(
            tables=[Path(path) for path in inputs.tables],
            figures=[Path(path) for path in inputs.figures],
            provenances=[Path(path) for path in inputs.provenances],
            weights=[Path(path) for path in inputs.weights],
            manifests=[Path(path) for path in inputs.manifests],
            rejected=Path(inputs.rejected),
            leakage=Path(inputs.leakage),
            fidelity=[Path(path) for path in inputs.fidelity],
            changes=[Path(path) for path in inputs.changes],
            benchmark=[Path(path) for path in inputs.benchmark],
        ),
        snakemake.params.config,
    )
