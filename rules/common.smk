"""The validated configuration, and the lists of jobs that follow from it."""

import os
import re
import sys
from functools import cache
from pathlib import Path

from snakemake.logging import logger

# Use the library of this checkout even if none or another one is installed (Snakemake or a job may use another
# environment): sys.path is for these files, PYTHONPATH for jobs and the processes that they start.
sys.path.insert(0, str(Path(workflow.basedir) / "scripts"))

from wbcsr import program_path, python_path

os.environ.update(PYTHONPATH=python_path(), PATH=program_path())

from wbcsr.config import (
    compared_variant,
    extra_tests_of,
    input_size_of,
    labels_file,
    parse_split,
    parse_variant,
    is_finetuned,
    is_super_resolved,
    is_synthetic,
    partitions_of,
    split_names,
    stored_images,
    tested_variants,
    training_variants,
    variant_for_split,
)
from wbcsr.config.schema import complete, with_new_names
from wbcsr.config.surroundings import check_deployment, check_files, one_gpu_model
from wbcsr.errors import InputError
from wbcsr.study.labels import figure_names
from wbcsr.explain import DRAWN, changes_figure
from wbcsr.failures import Failures
from wbcsr.own_packages import require_own_packages
from wbcsr.slurm import model_requested, refuse_arrays
from wbcsr.strict import check_yaml
from wbcsr.weights.releases import model_for_scale, shrunk_from

DEFAULTS = f"{workflow.basedir}/config/config.yaml"
try:
    require_own_packages()
    check_yaml([DEFAULTS, *workflow.configfiles])
except InputError as error:
    sys.exit(f"error: {error}")


configfile: DEFAULTS


# Archives that rules create.
MADE = {"data/archive.zip", "data/drawn.zip"}
try:
    config, renamed_keys = with_new_names(config)
    # Jobs read the configuration again, and must not repeat the warning.
    if renamed_keys and workflow.is_main_process:
        logger.warning(f"warning: {renamed_keys}")
    config = complete(config, Path(workflow.basedir) / "config" / "schema.yaml")
    check_files(config, MADE)
    methods = {method.item_to_choice() for method in workflow.deployment_settings.deployment_method}
    unused = check_deployment(methods, config)
    if unused and workflow.is_main_process:
        logger.warning(f"warning: {unused}")
except InputError as error:
    sys.exit(f"error: {error}")


# The image of all rules; Snakemake uses it with the option --software-deployment-method apptainer.
if config["container"]:

    container: config["container"]


FAILURES = Failures()
logger.addHandler(FAILURES)


onstart:
    try:
        refuse_arrays(workflow.executor_settings)
    except InputError as error:
        sys.exit(f"error: {error}")
    FAILURES.say_last(workflow.scheduler)


def growing(amount):
    """Return a job's memory (MB) or time (minutes): `amount` times the number of the attempt (1, 2, …)."""
    return lambda wildcards, attempt: amount * attempt


# Rules that build or load an engine, which runs only on the GPU model for which it was built.
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


# From the profile's set-resources.
OVERWRITTEN = {rule: workflow.resource_settings.overwrite_resources.get(rule, {}) for rule in RULES_OF_ENGINES}
AS_WRITTEN = {rule: {name: value.raw for name, value in given.items()} for rule, given in OVERWRITTEN.items()}
try:
    # Part of the engines' path, so that different GPU models never share an engine.
    GPU_MODEL = one_gpu_model({rule: model_requested(given) for rule, given in AS_WRITTEN.items()})
except InputError as error:
    sys.exit(f"error: {error}")


def by_content(path):
    """Return a user's file or folder as an input whose modification time is ignored; its content is a parameter."""
    return ancient(path) if path else []


@cache
def content_of(path):
    """Return the SHA-256 of a user's file (None without a file); as a parameter, it makes a changed content visible."""
    if path is None:
        return None
    from wbcsr.files import sha256  # imported here, because it needs pandas

    return sha256(path)


def archive_now():
    """Return the same for the archive, which may be a folder."""
    from wbcsr.dataset.state import archive_state  # imported here for the same reason

    dataset = config["dataset"]
    try:
        return archive_state(dataset["archive"], dataset["links"], dataset["limits"]["files"], RECORD)
    except InputError as error:
        sys.exit(f"error: {error}")


# A folder may have many files, and no rule makes it, so one look for each start is enough.
if Path(config["dataset"]["archive"]).is_dir():
    archive_now = cache(archive_now)


def state_of_archive(wildcards):
    """Return the archive's state."""
    return archive_now()


def state_of_photographs(wildcards):
    """Return the archive's state if photographs are configured."""
    return archive_now() if config["dataset"]["photographs"] else None


CLASSES = config["dataset"]["classes"]
LABELS = labels_file(config["dataset"])
PARTITIONS = list(partitions_of(config["dataset"]).values())
SPLIT_NAMES = split_names(config)
TRAINING = training_variants(config)
TESTED = tested_variants(config)
# Each variant as its images are named → the configured one; a fine-tuned one has other images for each split.
CONFIGURED = {
    variant_for_split(variant, split, SPLIT_NAMES): variant for variant in config["variants"] for split in SPLIT_NAMES
}
# An archive created by a rule must keep its modification time, so that its outputs are made after it.
ARCHIVE = (
    config["dataset"]["archive"] if config["dataset"]["archive"] in MADE else by_content(config["dataset"]["archive"])
)
RECORD = "results/dataset/archive.csv"
# The study's images: their list, the source of each one, and what was left out.
IMAGES, SOURCES, REJECTED = (f"results/dataset/{name}.csv" for name in ("images", "sources", "rejected"))
ORIGINAL_MANIFEST = "results/images/original/{partition}/{class_name}/manifest.csv"
# If squares around the cells are cropped, the same files of the whole images have other paths.
AROUND_CELL = config["view"]["around"] == "cell"
WHOLE = "results/dataset/whole" if AROUND_CELL else "results/dataset"
WHOLE_MANIFEST = ORIGINAL_MANIFEST.replace("original", "whole") if AROUND_CELL else ORIGINAL_MANIFEST
SHARD = "results/images/{variant}/{partition}/{class_name}/manifest_{shard}of{shards}"
WEIGHTS = "results/weights/{model}"
ENGINE = f"results/engines/{GPU_MODEL}/{{model}}"
PACKED = "results/packed/{variant}_{size}px"
RUN = "results/runs/{split}/{training}/seed{seed}"
RUN_ENGINE = f"{RUN}/engine/{GPU_MODEL}"
# Environment of jobs that run networks; TensorRT is large, so it is included only if configured.
NETWORKS = "../envs/gpu.yaml" if config["inference"]["backend"] == "tensorrt" else "../envs/workflow.yaml"
INTERPOLATED_VARIANTS = r"(bicubic|lanczos|reduced)_x\d+"


wildcard_constraints:
    split="|".join(SPLIT_NAMES),
    training="|".join(TRAINING),
    variant="|".join(CONFIGURED),
    partition="|".join(map(re.escape, PARTITIONS)),
    class_name="|".join(map(re.escape, CLASSES)),
    seed=r"\d+",
    shard=r"\d+",
    shards=str(config["shards"]),


def manifests_of(variant):
    """Return the manifests of a variant: one per partition and class and, for upscaled variants, per shard."""
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
    """Return the name of a variant's network, which its files of weights and engine have, or None."""
    name, scale = parse_variant(variant)
    if not is_super_resolved(variant):
        return None
    return model_for_scale(scale, config["weights"]["source"]) if name == "realesrgan" else name


def weights_settings(wildcards):
    """Return where the weights of a network come from."""
    own = config["models"].get(wildcards.model)
    return {"source": "path", **own} if own else config["weights"]


def own(variant, split):
    """Return the variant whose images a split uses."""
    return variant_for_split(variant, split, SPLIT_NAMES)


def packed(variant, training, split):
    """Return array and index of a variant for a split, at the input size of a training variant."""
    stem = PACKED.format(variant=own(variant, split), size=input_size_of(training, config))
    # ancient: an array is too large to be compared; the index has the hash of every row and changes with it.
    return {"array": ancient(f"{stem}.npy"), "index": f"{stem}.csv"}


def caption_of(figure):
    """Return the name of a figure's caption; figures of one kind share a caption."""
    kind = figure.split("_")[0]
    return kind if kind in ("confusion", "reliability", "curves") else figure


def files_of(output, run):
    """Return the files of a rule's output for a run in `TRAINED` or `TESTED_ON`."""
    names = {"split": run["split"], "training": run["trained_on"], "seed": run["seed"]}
    return expand(output, variant=run.get("tested_on", ""), **names)


def only(variants):
    """Return a regular expression that matches only these variants."""
    return "|".join(variants) or "(?!)"


def storing_of(wildcards):
    """Return what is stored of a variant's images in a partition."""
    return stored_images(CONFIGURED[wildcards.variant], wildcards.partition, config)


def packed_for(training, split):
    """Return the arrays and indexes of a training variant for a split."""
    files = [packed(variant, training, split) for variant in TRAINING[training]]
    return {"arrays": [file["array"] for file in files], "indexes": [file["index"] for file in files]}


def validation_of_run(wildcards):
    """Return array and index of a run's first variant; its validation images are used to check the engine."""
    return packed(TRAINING[wildcards.training][0], wildcards.training, wildcards.split)


def training_settings(training):
    """Return the section `train` for one training variant, so that a new extra input size retrains no other variant."""
    settings = {key: value for key, value in config["train"].items() if key != "extra_input_sizes"}
    return {**settings, "input_size": input_size_of(training, config)}


def split_settings(split):
    """Return the settings of a split, so that a changed setting of one rule does not repeat the splits of another."""
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
    """Return the first variant of a training variant that is made by a network, or None."""
    return next((variant for variant in TRAINING[training] if variant in MODELS), None)


def served_network(wildcards):
    """Return the name of the network that makes this variant for a split."""
    return MODELS[own(super_resolved_by(wildcards.training), wildcards.split)]


# The user's file of initial weights, or None.
OWN_INIT = None if config["train"]["init"] in ("random", "imagenet") else config["train"]["init"]


# A network with group norms starts from the weights of the same network with batch norms.
IMAGENET_NETWORK = config["train"]["classifier"].removesuffix("_groupnorm")


def initial_weights():
    """Return the file of initial weights, or an empty list."""
    made = {"imagenet": f"results/weights/{IMAGENET_NETWORK}_imagenet.safetensors"}
    return made.get(config["train"]["init"], by_content(OWN_INIT))


def upscaled_like(wildcards):
    """The manifests of Real-ESRGAN's images of the same scale, of the training partition."""
    scale = parse_variant(wildcards.variant)[1]
    return expand(
        f"{SHARD}.csv",
        variant=f"realesrgan_x{scale}",
        partition=PARTITIONS[0],
        class_name=CLASSES,
        shard=range(1, config["shards"] + 1),
        shards=config["shards"],
    )


def provenance_beside(paths):
    """Return the provenance file next to each of `paths`, with the same stem."""
    return [str(Path(path).with_suffix("")) + ".provenance.json" for path in paths]


def measurements(name):
    """Return the files of a benchmark: table, figure and provenance."""
    stem = f"results/benchmark/{name}"
    return {
        "csv": f"{stem}.csv",
        **{suffix: f"{stem}.{suffix}" for suffix in ("md", "tex", "png", "svg")},
        "provenance": f"{stem}.provenance.json",
    }


# The network of each variant that has one.
MODELS = {variant: model_of(variant) for variant in CONFIGURED if model_of(variant)}
# Each variant that is made by shrinking another one → that variant, if the other one's images are stored.
SHRUNK = shrunk_from(MODELS) if config["store"] == "all" else {}
NETWORK_MODELS = sorted(set(MODELS.values()))
# What the names of the variants call each network.
NETWORKS_OF = {model: parse_variant(CONFIGURED[variant])[0] for variant, model in MODELS.items()}
# Each fine-tuned network → the split whose photographs for training it sees.
SPLIT_OF = {
    model_of(own(variant, split)): split
    for variant in filter(is_finetuned, config["variants"])
    for split in SPLIT_NAMES
}
# With view.reduce_to, the networks enlarge squares with less detail than the photographs that fidelity compares.
MEASURES_FIDELITY = bool(
    config["dataset"]["photographs"]
    and config["fidelity"]["per_class"]
    and NETWORK_MODELS
    and not config["view"]["reduce_to"]
)
