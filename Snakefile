"""Does super-resolution help to classify white blood cells? See README.md; one file of rules a stage."""

from snakemake.utils import min_version

min_version("9.0")


configfile: f"{workflow.basedir}/config/config.yaml"


include: "rules/common.smk"
include: "rules/dataset.smk"
include: "rules/weights.smk"
include: "rules/engines.smk"
include: "rules/upscale.smk"
include: "rules/classify.smk"
include: "rules/report.smk"


report: "rules/captions/workflow.rst"


rule all:
    input:
        rules.make_report.output.page,
    default_target: True


rule dataset:
    input:
        rules.ingest_dataset.output.images,
        expand(rules.split_dataset.output.split, split=config["splits"]),


rule engines:
    input:
        [engine for variant in config["variants"] for engine in engine_of(variant)],


rule enhanced:
    input:
        [manifest for variant in config["variants"] for manifest in manifests_of(variant)],


rule models:
    input:
        expand(rules.train_classifier.output.model, split=config["splits"], training=TRAINING, seed=config["seeds"]),


rule tables:
    input:
        rules.make_tables.output,


rule report:
    input:
        rules.make_report.output.page,
