"""The answer of a finished study as a folder that can be published: no images of cells."""


localrules:
    publish,


rule publish:
    input:
        tables=[*rules.make_tables.output.csv, *rules.make_tables.output.texts],
        figures=rules.make_figures.output.png,
        provenances=[*PROVENANCES, *provenance_beside(QUALITIES)],
        leakage=rules.audit_leakage.output.leakage,
        images=config["dataset"]["images"] or [],
        fidelity=rules.make_fidelity_table.output if MEASURES_FIDELITY else [],
    output:
        answer=directory("results/answer"),
    log:
        "logs/publish/answer.log",
    benchmark:
        "benchmarks/publish/answer.tsv"
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        config=config,
    message:
        "Writing the answer for publication"
    script:
        "../scripts/publish.py"
