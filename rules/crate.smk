"""The finished study as an RO-Crate, in one file, for a research data repository."""


localrules:
    crate,


rule crate:
    input:
        rules.make_report.output,
        rules.make_tables.output,
        rules.make_figures.output,
        rules.make_fidelity_table.output if MEASURES_FIDELITY else [],
        rules.make_fidelity_figure.output if MEASURES_FIDELITY else [],
        rules.explain_changes.output if COMPARED else [],
        [IMAGES, SOURCES, REJECTED],
        CELLS.get("dataset", {}).get("cells", []),
        CELLS.get("figure", []),
        rules.find_sources.output.provenance,
        SPLITS,
        rules.audit_leakage.output,
        HISTORIES,
        PREDICTIONS,
        PROVENANCES,
        QUALITIES,
        provenance_beside(QUALITIES),
        FIDELITY_PROVENANCES,
        expand(rules.fetch_weights.output.description, model=NETWORK_MODELS),
    output:
        crate="results/study.crate.zip",
    log:
        "logs/crate/crate.log",
    benchmark:
        "benchmarks/crate/crate.tsv"
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        config=config,
    message:
        "Packing the study into an RO-Crate"
    script:
        "../scripts/crate.py"
