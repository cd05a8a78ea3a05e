"""Does super-resolution help to classify white blood cells? See README.md. Each stage has one file of rules."""

from snakemake.utils import min_version

min_version("9.0")


include: "rules/common.smk"
include: "rules/dataset.smk"
include: "rules/weights.smk"
include: "rules/engines.smk"
include: "rules/upscale.smk"
include: "rules/fidelity.smk"
include: "rules/classify.smk"
include: "rules/explain.smk"
include: "rules/report.smk"
include: "rules/serve.smk"
include: "rules/benchmark.smk"
include: "rules/doctor.smk"


report: "rules/captions/workflow.rst"


rule all:
    default_target: True
    input:
        rules.make_report.output.page,


rule dataset:
    input:
        rules.ingest_dataset.output.images,
        rules.find_sources.output.sources,
        rules.audit_leakage.output.leakage,


rule engines:
    input:
        expand(rules.check_upscaler.output, model=sorted(set(MODELS.values()))),


rule enhanced:
    input:
        MANIFESTS,


rule models:
    input:
        expand(rules.train_classifier.output.model, split=SPLIT_NAMES, training=TRAINING, seed=config["seeds"]),


rule tables:
    input:
        rules.make_tables.output,


rule report:
    input:
        rules.make_report.output.page,
