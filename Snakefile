"""Does super-resolution help to classify white blood cells? See README.md. Each stage has one file of rules."""

from snakemake.utils import min_version

min_version("9.0")


include: "rules/common.smk"
include: "rules/dataset.smk"
include: "rules/cells.smk"
include: "rules/weights.smk"
include: "rules/finetune.smk"
include: "rules/engines.smk"
include: "rules/upscale.smk"
include: "rules/controls.smk"
include: "rules/fidelity.smk"
include: "rules/classify.smk"
include: "rules/explain.smk"
include: "rules/report.smk"
include: "rules/crate.smk"
include: "rules/publish.smk"
include: "rules/serve.smk"
include: "rules/benchmark.smk"
include: "rules/doctor.smk"


report: "rules/captions/workflow.rst"


rule dataset:
    input:
        rules.ingest_dataset.output,
        rules.find_sources.output,
        CELLS.get("dataset", []),
        expand(rules.split_dataset.output, split=SPLIT_NAMES),
        rules.audit_leakage.output,


rule engines:
    input:
        expand(rules.check_upscaler.output, model=NETWORK_MODELS),


rule enhanced:
    input:
        MANIFESTS,


rule models:
    input:
        expand(rules.train_classifier.output, training=TRAINING, **RUNS),


rule tables:
    input:
        rules.make_tables.output,
        rules.make_fidelity_table.output if MEASURES_FIDELITY else [],


rule figures:
    input:
        rules.make_figures.output,
        rules.make_fidelity_figure.output if MEASURES_FIDELITY else [],
        rules.explain_changes.output if COMPARED else [],
        CELLS.get("figure", []),
        FINETUNING_FIGURE,


rule report:
    input:
        rules.make_report.output,


# Every file of a study, so that Snakemake makes a deleted file again.
rule all:
    default_target: True
    input:
        *[
            target.input
            for target in (rules.dataset, rules.enhanced, rules.models, rules.tables, rules.figures, rules.report)
        ],
        INTERMEDIATE,
