"""The configuration, checked, and the lists of jobs that follow from it alone."""

import os
import re
import sys
from functools import cache
from pathlib import Path

from snakemake.logging import logger

# This checkout's library, also where none is installed (a Snakemake of another environment, a job's conda environment)
# or another checkout's is: first for these files, then for jobs and the processes that they start.
sys.path.insert(0, str(Path(workflow.basedir) / "scripts"))

from wbcsr import python_path

os.environ.update(PYTHONPATH=python_path())

from wbcsr.config import (
    check_files,
    compared_variant,
    complete,
    extra_tests_of,
    input_size_of,
    reported_split,
    one_gpu_model,
    parse_split,
    parse_variant,
    is_synthetic,
    partitions_of,
    split_names,
    tested_variants,
    training_variants,
    with_new_names,
)
from wbcsr.errors import InputError
from wbcsr.study.labels import figure_names
from wbcsr.explain import DRAWN, changes_figure
from wbcsr.failures import Failures
from wbcsr.strict import check_yaml
from wbcsr.weights.releases import model_for_scale, shrunk_from

DEFAULTS = f"{workflow.basedir}/config/config.yaml"
try:
    check_yaml([DEFAULTS, *workflow.configfiles])
except InputError as error:
    sys.exit(f"error: {error}")


configfile: DEFAULTS


# Archives that rules make.
MADE = {"data/archive.zip", "data/drawn.zip"}
try:
    config, renamed_keys = with_new_names(config)
    # Jobs read the configuration again.
    if renamed_keys and workflow.is_main_process:
        logger.warning(f"warning: {renamed_keys}")
    config = complete(config, Path(workflow.basedir) / "config" / "schema.yaml")
    check_files(config, MADE)
except InputError as error:
    sys.exit(f"error: {error}")


FAILURES = Failures()
logger.addHandler(FAILURES)


onstart:
    FAILURES.say_last(workflow.scheduler)


def growing(amount):
    """A job's need of memory (MB) or time (minutes): `amount` at the first attempt, twice as much at the second, …"""
    return lambda wildcards, attempt: amount * attempt


# Rules that make or load an engine, which runs only on the GPU model that it was built for.
RULES_OF_ENGINES = [
    "compile_upscaler",
    "check_upscaler",
    "upscale",
    "measure_fidelity",
    "compile_classifier",
    "check_classifier",
    "predict",
    "export_model_repository",
]


# Which the profile's set-resources names.
OVERWRITTEN = {rule: workflow.resource_settings.overwrite_resources.get(rule, {}) for rule in RULES_OF_ENGINES}
try:
    # Engines are kept apart by it, so that two models never get each other's.
    GPU_MODEL = one_gpu_model(
        {rule: given["gpu_model"].raw if "gpu_model" in given else None for rule, given in OVERWRITTEN.items()}
    )
except InputError as error:
    sys.exit(f"error: {error}")


def by_content(path):
    """A file or folder of the user's as an input: not its time counts, but its content, which is a parameter."""
    return ancient(path) if path else []


@cache
def content_of(path):
    """The SHA-256 of a file of the user's, None where none is given: a parameter, by which other content is seen."""
    if path is None:
        return None
    from wbcsr.files import sha256  # here, since it needs pandas, and most runs have no such file

    return sha256(path)


def state_of_archive(wildcards):
    """The same of the archive, which may be a folder."""
    from wbcsr.dataset.state import archive_state  # here, for the same reason

    dataset = config["dataset"]
    try:
        return archive_state(dataset["archive"], dataset["links"], dataset["limits"]["files"], RECORD)
    except InputError as error:
        sys.exit(f"error: {error}")


def state_of_photographs(wildcards):
    """The archive's state if it has photographs."""
    return state_of_archive(wildcards) if config["dataset"]["photographs"] else None


CLASSES = config["dataset"]["classes"]
PARTITIONS = list(partitions_of(config["dataset"]).values())
SPLIT_NAMES = split_names(config)
TRAINING = training_variants(config)
TESTED = tested_variants(config)
# What a rule makes in this run must be newer than what follows from it.
ARCHIVE = (
    config["dataset"]["archive"] if config["dataset"]["archive"] in MADE else by_content(config["dataset"]["archive"])
)
RECORD = "results/dataset/archive.csv"
# The study's images: their list, the source of each one, and what was left out.
IMAGES, SOURCES, REJECTED = (f"results/dataset/{name}.csv" for name in ("images", "sources", "rejected"))
ORIGINAL_MANIFEST = "results/images/original/{partition}/{class_name}/manifest.csv"
# If a square around the cell is cut out of each image, the same files of the whole images are apart.
AROUND_CELL = config["view"]["around"] == "cell"
WHOLE = "results/dataset/whole" if AROUND_CELL else "results/dataset"
WHOLE_MANIFEST = ORIGINAL_MANIFEST.replace("original", "whole") if AROUND_CELL else ORIGINAL_MANIFEST
SHARD = "results/images/{variant}/{partition}/{class_name}/manifest_{shard}of{shards}"
WEIGHTS = "results/weights/{model}"
ENGINE = f"results/engines/{GPU_MODEL}/{{model}}"
PACKED = "results/packed/{variant}_{size}px"
RUN = "results/runs/{split}/{training}/seed{seed}"
RUN_ENGINE = f"{RUN}/engine/{GPU_MODEL}"
# What jobs that run networks need: TensorRT only where it is asked for, since it is large.
NETWORKS = "../envs/gpu.yaml" if config["inference"]["backend"] == "tensorrt" else "../envs/workflow.yaml"
INTERPOLATED_VARIANTS = r"(bicubic|lanczos)_x\d+"


wildcard_constraints:
    split="|".join(SPLIT_NAMES),
    training="|".join(TRAINING),
    variant="|".join(config["variants"]),
    partition="|".join(map(re.escape, PARTITIONS)),
    class_name="|".join(map(re.escape, CLASSES)),
    seed=r"\d+",
    shard=r"\d+",
    shards=str(config["shards"]),


def manifests_of(variant):
    """The manifests of a variant: one for each partition and class, and for each shard of an upscaled one."""
    if variant == "original":
        return expand(ORIGINAL_MANIFEST, partition=PARTITIONS, class_name=CLASSES)
    shards = config["shards"]
    return expand(
        f"{SHARD}.csv",
        variant=variant,
        partition=PARTITIONS,
        class_name=CLASSES,
        shard=range(1, shards + 1),
        shards=shards,
    )


def model_of(variant):
    """The model of Real-ESRGAN that makes a variant, or None."""
    method, scale = parse_variant(variant)
    return model_for_scale(scale, config["weights"]["source"]) if method == "realesrgan" else None


def packed(variant, training):
    """Array and index of a variant at the input size of a training variant."""
    stem = PACKED.format(variant=variant, size=input_size_of(training, config))
    return {"array": f"{stem}.npy", "index": f"{stem}.csv"}


def caption_of(figure):
    """The caption of a figure; those of one kind share one."""
    kind = figure.split("_")[0]
    return kind if kind in ("confusion", "reliability", "curves") else figure


def files_of(output, run):
    """The file of a rule's output for a run as the tables name it."""
    names = {"split": run["split"], "training": run["trained_on"], "seed": run["seed"]}
    return expand(output, variant=run.get("tested_on", ""), **names)


def only(variants):
    """A pattern that these variants match, and nothing else."""
    return "|".join(variants) or "(?!)"


def packed_for(training):
    """Arrays and indexes that a training variant is trained on."""
    files = [packed(variant, training) for variant in TRAINING[training]]
    return {"arrays": [file["array"] for file in files], "indexes": [file["index"] for file in files]}


def validation_of_run(wildcards):
    """Array and index of the first variant that a run is trained on, whose validation images its engine is checked by."""
    return packed(TRAINING[wildcards.training][0], wildcards.training)


def training_settings(training):
    """The section `train` as one training variant needs it: a further input size trains no other one again."""
    settings = {key: value for key, value in config["train"].items() if key != "extra_input_sizes"}
    return {**settings, "input_size": input_size_of(training, config)}


def split_settings(split):
    """What a split follows from beside images and sources: settings of one rule split by no other one again."""
    partitions = partitions_of(config["dataset"])
    extra = {"extra_tests": extra_tests_of(partitions)}
    if split == "custom":
        return {**extra, "sha256": content_of(config["custom"])}
    if parse_split(split)[0] == "by_source":
        return {**extra, "parts": config["by_source"]["parts"]}
    published = {**extra, "partitions": partitions}
    if split == "published":
        return published
    return {**published, "validation_fraction": config["validation_fraction"]}


def super_resolved_by(training):
    """The first variant of a training variant that a network makes, or None."""
    return next((variant for variant in TRAINING[training] if variant in MODELS), None)


# The user's own file that training starts from, if it starts from one.
OWN_INIT = None if config["train"]["init"] in ("random", "imagenet") else config["train"]["init"]


def initial_weights():
    """The file that training starts from, if it starts from one."""
    made = {"imagenet": f"results/weights/{config['train']['classifier']}_imagenet.safetensors"}
    return made.get(config["train"]["init"], by_content(OWN_INIT))


def provenance_beside(paths):
    """The provenance that stands beside each of `paths`, under the same stem."""
    return [str(Path(path).with_suffix("")) + ".provenance.json" for path in paths]


def measurements(name):
    """The files of a benchmark: what was measured, as a table, as a figure, and how it came to be."""
    stem = f"results/benchmark/{name}"
    return {
        "csv": f"{stem}.csv",
        **{suffix: f"{stem}.{suffix}" for suffix in ("md", "tex", "png", "svg")},
        "provenance": f"{stem}.provenance.json",
    }


# The network of each variant that has one.
MODELS = {variant: model_of(variant) for variant in config["variants"] if model_of(variant)}
# The variant from which each one is shrunk that needs no network of its own.
SHRUNK = shrunk_from(MODELS)
NETWORK_MODELS = sorted(set(MODELS.values()))
MEASURES_FIDELITY = bool(config["dataset"]["photographs"] and config["fidelity"]["per_class"] and NETWORK_MODELS)
