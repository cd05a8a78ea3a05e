"""The configuration: fills in defaults and checks every key against config/schema.yaml."""

from __future__ import annotations

import copy
import difflib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from wbcsr.errors import InputError
from wbcsr.names import clean

Config = dict[str, Any]

# The partition of images that were published without partitions.
UNPUBLISHED = "ALL"
# The uses of a partition that is not an extra test.
MAIN_USES = ("train", "validation", "test")
# Names that extra tests cannot have: the other subsets, and the columns of Table 2.
RESERVED_SUBSETS = {*MAIN_USES, "class", "total", "study_train", "study_test", "study_total"}
# The archive that a rule downloads if it is missing.
DOWNLOADED = "data/archive.zip"
# Folders that the workflow writes into its working folder.
OWN_FOLDERS = ("results", "logs", "benchmarks")
# Renamed keys, old → new; this release accepts the old ones. A key in a renamed section follows the section.
RENAMED_KEYS = {
    "given": "custom",
    "choose": "subsample",
    "drawing": "synthetic",
    "synthetic.copies_per_source": "synthetic.duplicates_per_source",
    "cross": "cross_evaluate",
    "inference.gate": "inference.tolerances",
    "train.more_input_sizes": "train.extra_input_sizes",
}
RENAMED_SPLITS = {"given": "custom"}
# The variants that no super-resolution network makes, without their scale; a model cannot have these names.
WITHOUT_NETWORK = ("original", "ceiling", "bicubic", "lanczos", "sharpened", "reduced")
# The network that is fine-tuned on the photographs, as variants name it.
FINETUNED = "finetuned"
# How many images of each class of the training partition are PNG files with `store` sample: the figures choose among
# the first 50 of them, and the sharpness of Real-ESRGAN is measured on at most the first 64.
SAMPLE = 64


def with_new_names(config: Config) -> tuple[Config, str | None]:
    """Return `config` with its renamed keys and splits under their new names, and a one-line warning if it has any.

    Raises InputError if a key is set under both names.
    """
    config, renamed = copy.deepcopy(config), {}
    for old, new in RENAMED_KEYS.items():
        *sections, old_name = old.split(".")
        section: Any = config
        for name in sections:
            section = section.get(name) if isinstance(section, dict) else None
        if not isinstance(section, dict) or old_name not in section:
            continue
        new_name = new.rpartition(".")[2]
        if new_name in section:
            raise InputError(f"configuration: {old} is the old name of {new}, and both are set; remove {old}")
        section[new_name] = section.pop(old_name)
        renamed[f"the key {old}"] = new
    if isinstance(config.get("splits"), list):
        renamed |= {f"the split {name}": RENAMED_SPLITS[name] for name in config["splits"] if name in RENAMED_SPLITS}
        config["splits"] = [RENAMED_SPLITS.get(name, name) for name in config["splits"]]
    if not renamed:
        return config, None
    listed = ", ".join(f"{old} is now {new}" for old, new in renamed.items())
    return config, f"configuration: {listed}; use the new names: the next release will not accept the old ones"


def complete(config: Config, schema_path: str | Path) -> Config:
    """Return `config` with the schema's defaults filled in, or raise `InputError`.

    A path as `dataset.labels` becomes the section with this `file`. If `dataset.classes` gives the folders or labels of
    each class, they become `dataset.members`, and `dataset.classes` becomes the list of names.

    The error is one line that names the key; for an unknown key, it also names the nearest known one.
    """
    # libyaml where PyYAML has it: every start of Snakemake reads the schema.
    schema = yaml.load(Path(schema_path).read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    completed = _typed(copy.deepcopy(config), schema)
    _fill(completed, schema)
    problem = best_match(Draft202012Validator(schema).iter_errors(completed), key=_unknown_keys_first)
    if problem is not None:
        raise InputError(f"configuration: {_explain(problem, schema)}")
    for key, value in _leaves(completed):
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"configuration: {key} must be a number, not {value}")
    dataset = completed["dataset"]
    if isinstance(dataset["labels"], str):
        dataset["labels"] = {"file": dataset["labels"]}
        _fill(completed, schema)
    if isinstance(dataset["classes"], dict):
        dataset["members"] = dataset["classes"]
    if dataset["members"]:
        dataset["members"] = {clean(name): [*map(clean, members)] for name, members in dataset["members"].items()}
    dataset["classes"] = [clean(name) for name in dataset["classes"]]
    if dataset["partitions"]:
        folders = dataset["partitions"]
        extra = {name: clean(folder) for name, folder in folders.pop("extra_tests").items()}
        dataset["partitions"] = {part: clean(name) if name else name for part, name in folders.items()}
        dataset["partitions"]["extra_tests"] = extra
    _check_combinations(completed)
    completed["evaluation"]["primary"] |= primary_comparison(completed)
    return completed


def is_synthetic(config: Config) -> bool:
    """Whether the images are the synthetic ones of this project, which say nothing about real cells."""
    return PurePosixPath(config["dataset"]["archive"]).name == "drawn.zip"


def partitions_of(dataset: Config) -> dict[str, str]:
    """The names of the partitions by use: train, validation (if there is one), test, and the extra tests.

    Without published partitions there is only train, which contains all images.
    """
    published: dict[str, Any] = dataset["partitions"] or {"train": UNPUBLISHED}
    named = {use: published.get(use) for use in MAIN_USES} | published.get("extra_tests", {})
    return {use: name for use, name in named.items() if name}


def labels_file(dataset: Config) -> str | None:
    """The path of the CSV file with the labels, or None if the folders name the classes."""
    return dataset["labels"]["file"] if dataset["labels"] else None


def extra_tests_of(partitions: Mapping[str, str]) -> dict[str, str]:
    """The extra test partitions among those of `partitions_of`."""
    return {use: name for use, name in partitions.items() if use not in MAIN_USES}


def is_super_resolved(variant: str) -> bool:
    """Whether a network makes the images of a variant: Real-ESRGAN or one of `models`."""
    return parse_variant(variant)[0] not in WITHOUT_NETWORK


def is_finetuned(variant: str) -> bool:
    """Whether the network of a variant is fine-tuned on the photographs."""
    return parse_variant(variant)[0] == FINETUNED


def variant_for_split(variant: str, split: str, splits: Sequence[str]) -> str:
    """The variant whose images a split uses: a fine-tuned network belongs to one split, and so do its images.

    `splits` are all `split_names`. The first one uses the variant itself, and for a further one `finetuned_x4` becomes
    `finetuned_by_source_fold2_x4`. Other variants have the same images in all splits.
    """
    if not is_finetuned(variant) or split == splits[0]:
        return variant
    return f"{FINETUNED}_{split}_x{parse_variant(variant)[1]}"


def enhanced_variant(variants: list[str]) -> str | None:
    """The variant that the study calls enhanced: the first super-resolved one, or None if there is none."""
    return next(filter(is_super_resolved, variants), None)


def first_of_each_network(variants: list[str]) -> list[str]:
    """The first variant of each network, in the order of `variants`."""
    first: dict[str, str] = {}
    for variant in filter(is_super_resolved, variants):
        first.setdefault(parse_variant(variant)[0], variant)
    return list(first.values())


def compared_variant(variants: list[str]) -> str | None:
    """The variant compared with `original`: the first super-resolved one, else the last other variant, else None."""
    others = [variant for variant in variants if variant != "original"]
    return enhanced_variant(variants) or (others[-1] if others else None)


def training_variants(config: Config) -> dict[str, list[str]]:
    """The name of each training variant → the variants whose images it is trained on.

    First every variant and `dual`, at `train.input_size`; then, for each of `train.extra_input_sizes`: `original`, the
    variant compared with it (`compared_variant`), and `dual`, with names such as `original_448px`.
    """
    trained = {variant: [variant] for variant in config["variants"]}
    if config["dual"]:
        trained["dual"] = ["original", str(enhanced_variant(config["variants"]))]
    sized = [name for name in trained if name in ("original", compared_variant(config["variants"]), "dual")]
    return trained | {
        f"{name}_{size}px": trained[name] for size in config["train"]["extra_input_sizes"] for name in sized
    }


def tested_variants(config: Config) -> dict[str, list[str]]:
    """The name of each training variant → the variants that its classifier is tested on.

    Its own variants come first. With `cross_evaluate`, and at `train.input_size` only, all other variants follow in the
    order of the configuration.
    """
    return {
        training: list(dict.fromkeys([*own, *config["variants"]]))
        if config["cross_evaluate"] and parse_training(training)[1] is None
        else own
        for training, own in training_variants(config).items()
    }


def parse_training(training: str) -> tuple[str, int | None]:
    """`dual` → ("dual", None), trained at `train.input_size`; `original_448px` → ("original", 448)."""
    match = re.fullmatch(r"(?P<name>.+?)(?:_(?P<size>\d+)px)?", training)
    if match is None:
        raise ValueError(f"not a training variant: {training!r}")
    return match["name"], int(match["size"]) if match["size"] else None


def input_size_of(training: str, config: Config) -> int:
    """The side in pixels of the images that a training variant is trained and tested on."""
    return parse_training(training)[1] or int(config["train"]["input_size"])


def stored_images(variant: str, partition: str, config: Config) -> dict[str, Any]:
    """What is stored of a variant's images in a partition: the fields of `wbcsr.upscale.store.Storing`.

    With `store` sample or none, these are rows at every input size at which a classifier reads the variant.
    """
    if config["store"] == "all":
        return {"pngs": None, "sizes": []}
    sampled = config["store"] == "sample" and partition == partitions_of(config["dataset"])["train"]
    readers = [training for training, variants in tested_variants(config).items() if variant in variants]
    return {
        "pngs": SAMPLE if sampled else 0,
        "sizes": sorted({input_size_of(training, config) for training in readers}),
    }


def split_names(config: Config) -> list[str]:
    """The name of each split's file: the split's own, such as `paper`; by_source adds `by_source_fold2` and so on."""
    folds = {"by_source": config["by_source"]["folds"]}
    return [
        split if fold == 1 else f"{split}_fold{fold}"
        for split in config["splits"]
        for fold in range(1, folds.get(split, 1) + 1)
    ]


def parse_split(name: str) -> tuple[str, int]:
    """`paper` → ("paper", 1); `by_source_fold2` → ("by_source", 2)."""
    match = re.fullmatch(r"(?P<split>.+?)(?:_fold(?P<fold>\d+))?", name)
    if match is None:
        raise ValueError(f"not a split: {name!r}")
    return match["split"], int(match["fold"] or 1)


def reported_split(splits: list[str]) -> str:
    """The split on which the answer is based: by_source, whose subsets share no source; without it, the first split."""
    return "by_source" if "by_source" in splits else splits[0]


def primary_comparison(config: Config) -> dict[str, str | None]:
    """The split, the variant and the variant it is compared with in the primary comparison; null values get defaults.

    By default it compares the variant of `compared_variant` with `original`, in the split of `reported_split`.
    """
    primary = config["evaluation"]["primary"]
    return {
        "split": primary["split"] or reported_split(config["splits"]),
        "variant": primary["variant"] or compared_variant(config["variants"]),
        "against": primary["against"] or "original",
    }


def parse_variant(variant: str) -> tuple[str, int]:
    """`original` → ("original", 1); `bicubic_x4` → ("bicubic", 4); `realsr_df2k_x4` → ("realsr_df2k", 4)."""
    match = re.fullmatch(r"(?P<method>[a-z][a-z0-9_]*?)(?:_x(?P<scale>\d+))?", variant)
    if match is None:
        raise ValueError(f"not a variant: {variant!r}")
    return match["method"], int(match["scale"] or 1)


def check_files(config: Config, made: set[str]) -> None:
    """Raise InputError if a file that the configuration names does not exist and no rule makes it (`made`).

    Without this check, Snakemake would treat older results of a rule as up to date although the rule's input is
    missing. Raises InputError also if data lie in a folder that the workflow writes (`OWN_FOLDERS`), or if the hash of
    the file of weights is not given; that message contains the line to add.
    """
    named = {"dataset.archive": config["dataset"]["archive"]}
    if config["train"]["init"] not in ("imagenet", "random"):
        named["train.init"] = config["train"]["init"]
    own_weights = own_weights_of(config)
    named |= {f"{key}.path": weights["path"] for key, weights in own_weights.items()}
    if config["fidelity"]["lpips"] and config["fidelity"]["lpips_weights"]:
        named["fidelity.lpips_weights"] = config["fidelity"]["lpips_weights"]
    if config["finetune"]["perceptual_weights"]:
        named["finetune.perceptual_weights"] = config["finetune"]["perceptual_weights"]
    if config["sources"]["method"] == "table":
        named["sources.table"] = config["sources"]["table"]
    for key in ("images", "links"):
        if config["dataset"][key]:
            named[f"dataset.{key}"] = config["dataset"][key]
    if config["container"] and "://" not in config["container"]:
        named["container"] = config["container"]
    if labels := labels_file(config["dataset"]):
        named["dataset.labels"] = labels
    if config["custom"]:
        named["custom"] = config["custom"]
    for key, path in named.items():
        own = next((name for name in OWN_FOLDERS if Path(path).resolve().is_relative_to(Path(name).resolve())), None)
        if own and not key.startswith(("train", "weights", "models", "fidelity", "finetune", "container")):
            raise InputError(
                f"configuration: {key} {path} is in {own}, where the workflow writes its results; copy it to another "
                "folder, such as data"
            )
        if path not in made and not Path(path).exists():
            raise InputError(
                f"configuration: {key}: {Path(path).absolute()} does not exist; create it or correct the key"
            )
    for key, weights in own_weights.items():
        if not weights["sha256"] and Path(weights["path"]).is_file():
            from wbcsr.files import sha256  # imported here, because it needs pandas, and most runs have no such file

            raise InputError(
                f"configuration: {key}.sha256 is missing; it is needed to detect a changed file; add to the section "
                f"{key}: 'sha256: {sha256(weights['path'])}'"
            )


def own_weights_of(config: Config) -> dict[str, Config]:
    """The sections of the configuration that name a file of weights of the user, by their keys."""
    own = {f"models.{name}": model for name, model in config["models"].items()}
    return ({"weights": config["weights"]} if config["weights"]["source"] == "path" else {}) | own


def check_deployment(methods: set[str], config: Config) -> str | None:
    """A one-line warning if `container` is set but not used, given Snakemake's `--software-deployment-method`, or None.

    Raises InputError for a method that no rule declares, since Snakemake would run the jobs without it.
    """
    if "apptainer" in methods and not config["container"]:
        raise InputError(
            "option --software-deployment-method apptainer: the key container is null, so jobs would run in no "
            "container; set it to an image, or leave the option out"
        )
    if "env-modules" in methods:
        raise InputError(
            "option --software-deployment-method env-modules: no rule names modules; leave the option out, and load "
            "the modules before you start Snakemake, since its jobs inherit them"
        )
    if config["container"] and "apptainer" not in methods:
        return (
            f"configuration: container {config['container']} is used only with the option "
            "--software-deployment-method apptainer"
        )
    return None


def one_gpu_model(given: Mapping[str, Any]) -> str:
    """The GPU model that a profile sets for all rules that share engines, or "any" if it sets none.

    `given` has the value of each rule as the profile writes it, or None. Raises InputError if the values differ, or if
    SLURM would not accept the name.
    """
    models = {rule: str(model).strip("'\"") if model else "any" for rule, model in given.items()}
    if len(set(models.values())) > 1:
        listed = ", ".join(f"{rule} {model}" for rule, model in models.items())
        raise InputError(
            f"profile: set-resources gives these rules different values of gpu_model, but an engine runs only on the "
            f"model that it was built for: {listed}; give all of them the same value"
        )
    (model,) = set(models.values())
    if not re.fullmatch(r"(?!\d+$)[A-Za-z0-9_.]+", model):
        raise InputError(
            f"profile: gpu_model {model!r} cannot be submitted: it may have only letters, digits, _ and ., and may "
            "not be a number; remove gpu_model and choose the nodes by constraint"
        )
    return model


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is not a section or list, with the names of the keys that lead to it."""
    if isinstance(value, (dict, list)):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in inner:
            yield from _leaves(part, f"{place}.{key}" if place else str(key))
    else:
        yield place, value


def _fill(config: Any, schema: dict[str, Any]) -> None:
    if not isinstance(config, dict):
        return
    for named in config if schema.get("additionalProperties") else ():
        _fill(config[named], schema["additionalProperties"])
    for key, rules in schema.get("properties", {}).items():
        if key not in config:
            config[key] = copy.deepcopy(rules["default"])
        _fill(config[key], rules)


def _typed(value: Any, rules: dict[str, Any]) -> Any:
    """Convert values from Snakemake's `--config key='{a: 1}'`, which leaves everything inside the braces as text."""
    if isinstance(value, dict):
        others = rules.get("additionalProperties") or {}
        return {key: _typed(inner, rules.get("properties", {}).get(key, others)) for key, inner in value.items()}
    if isinstance(value, list):
        return [_typed(inner, rules.get("items", {})) for inner in value]
    types = {kind for choice in [rules, *rules.get("anyOf", [])] for kind in _as_list(choice.get("type", []))}
    if isinstance(value, float) and value.is_integer() and "integer" in types and "number" not in types:
        return int(value)
    if isinstance(value, str) and types - {"string"}:
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError:
            return value
        if "number" in types and isinstance(parsed, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", parsed):
            parsed = float(parsed)  # YAML 1.1 reads 1e-3 as text
        return parsed if parsed is None or "string" not in types else value
    return value


def _as_list(kinds: str | list[str]) -> list[str]:
    return [kinds] if isinstance(kinds, str) else kinds


def _unknown_keys_first(error: ValidationError) -> tuple[bool, int]:
    return error.validator == "additionalProperties", -len(error.absolute_path)


def _known_keys(schema: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, rules in schema.get("properties", {}).items():
        yield prefix + key
        yield from _known_keys(rules, f"{prefix}{key}.")


def _explain(problem: ValidationError, schema: dict[str, Any]) -> str:
    place = ".".join(str(part) for part in problem.absolute_path)
    if problem.validator == "additionalProperties":
        unknown = min(set(problem.instance) - set(problem.schema["properties"]), key=str)
        full = f"{place}.{unknown}" if place else str(unknown)
        siblings = list(problem.schema["properties"])
        nearest = difflib.get_close_matches(str(unknown), siblings, n=1, cutoff=0.5)
        elsewhere = [key for key in _known_keys(schema) if key.rpartition(".")[2] == unknown]
        if elsewhere:
            near = "' or '".join(elsewhere)
        elif nearest:
            near = f"{place}.{nearest[0]}" if place else nearest[0]
        else:
            near = difflib.get_close_matches(full, list(_known_keys(schema)), n=1, cutoff=0)[0]
        return f"unknown key '{full}'; the nearest known key is '{near}'"
    message = problem.message.splitlines()[0]
    if problem.validator == "type":
        wanted, found = problem.validator_value, problem.instance
        message = f"must be {' or '.join(wanted) if isinstance(wanted, list) else wanted}, not "
        message += "empty" if found is None else repr(found)
        if isinstance(found, bool):
            message += " (YAML also reads yes, no, on and off as true or false)"
        if "string" in wanted and isinstance(found, bool | int | float):
            message += "; put it in quotes"
    elif problem.validator == "anyOf":
        message = f"{problem.instance!r} is not allowed here"
    elif problem.validator == "not":
        message = f"{problem.instance!r} is a name that the workflow uses itself; choose another name"
    elif problem.validator == "contains":
        message = f"must contain '{problem.validator_value['const']}'"
    described = problem.schema.get("description", "")
    return f"key '{place}': {message}" + (f" ({' '.join(described.split())})" if described else "")


def _check_combinations(config: Config) -> None:
    """Check what the rules of a single key cannot express."""
    if config["weights"]["source"] == "path" and not config["weights"]["path"]:
        raise InputError("configuration: weights.source is path, so weights.path and weights.sha256 must be given")
    _check_models(config)
    _check_finetuned(config)
    if config["dual"] and enhanced_variant(config["variants"]) is None:
        raise InputError("configuration: dual needs a super-resolved variant in 'variants'; add one or set dual: false")
    if config["train"]["frozen_stages"] and config["train"]["init"] == "random":
        raise InputError("configuration: train.frozen_stages must be 0 if train.init is random, or nothing is learned")
    partitions = partitions_of(config["dataset"])
    for use in extra_tests_of(partitions):
        if use.casefold() in RESERVED_SUBSETS:
            raise InputError(
                f"configuration: dataset.partitions.extra_tests has the name {use!r}, which tables use for something "
                "else; take another, such as other_camera"
            )
    uses: dict[str, str] = {}
    for use, name in partitions.items():
        if name in uses:
            raise InputError(f"configuration: dataset.partitions.{uses[name]} and .{use} name the same folder {name!r}")
        uses[name] = use
    labels = config["dataset"]["labels"]
    if labels and config["dataset"]["boxes"]:
        raise InputError(
            "configuration: dataset.boxes takes the classes from XML files, but dataset.labels is set; leave one out"
        )
    if labels and labels["columns"]["partition"] is None and config["dataset"]["partitions"]:
        raise InputError(
            "configuration: dataset.labels.columns.partition is null, but dataset.partitions is set; name the column, "
            "or set dataset.partitions to null"
        )
    levels = config["dataset"]["range"]
    if levels and levels[0] >= levels[1]:
        raise InputError(
            f"configuration: dataset.range {levels}: white, the second value, must be larger than black, the first"
        )
    if 2 * config["inference"]["overlap"] >= config["inference"]["tile"]:
        raise InputError("configuration: inference.overlap must be less than half of inference.tile")
    folded = [name.casefold() for name in config["dataset"]["classes"]]
    if len(set(folded)) < len(folded):
        raise InputError("configuration: dataset.classes has two names that differ only in case or blanks")
    given: dict[str, list[str]] = config["dataset"]["members"] or {}
    if given and given.keys() != set(config["dataset"]["classes"]):
        raise InputError("configuration: dataset.members must give the folders of each of dataset.classes")
    owners: dict[str, str] = {}
    for name, members in given.items():
        for member in members:
            if owners.setdefault(member, name) != name:
                raise InputError(
                    f"configuration: dataset.classes has {member!r} in {owners[member]!r} and in {name!r}; remove one"
                )
    train = config["train"]
    if train["input_size"] in train["extra_input_sizes"]:
        raise InputError(
            f"configuration: train.extra_input_sizes contains train.input_size {train['input_size']}; remove it there"
        )
    git = config["dataset"]["git"]
    if git and config["dataset"]["archive"] != DOWNLOADED:
        raise InputError(
            f"configuration: dataset.git is downloaded to {DOWNLOADED}, but dataset.archive is "
            f"{config['dataset']['archive']}; leave one of them out"
        )
    _check_sources(config["sources"], config["dataset"])
    _check_view(config["view"])
    _check_controls(config)
    _check_store(config)
    _check_splits(config)
    _check_primary(config)


def _check_models(config: Config) -> None:
    known = ["realesrgan", FINETUNED, *config["models"]]
    for variant in config["variants"]:
        name, scale = parse_variant(variant)
        if is_super_resolved(variant) and name not in known:
            methods = [method for method in (*WITHOUT_NETWORK, *known) if method not in ("original", "ceiling")]
            near = difflib.get_close_matches(name, methods, n=1, cutoff=0)[0]
            raise InputError(
                f"configuration: variants has {variant}, but models has no {name}; add it there, or write another "
                f"variant, such as {near}_x{scale}"
            )


def _check_finetuned(config: Config) -> None:
    variant = next(filter(is_finetuned, config["variants"]), None)
    if variant is None:
        return
    method, photographs = config["sources"]["method"], config["dataset"]["photographs"]
    if not (photographs and method in ("auto", "photographs")):
        raise InputError(
            f"configuration: variants has {variant}, a network fine-tuned on the photographs, but "
            + (f"sources.method is {method}; set it to photographs" if photographs else "dataset.photographs is null")
            + f", or take {variant} out of variants"
        )
    if config["view"]["reduce_to"]:
        raise InputError(
            f"configuration: variants has {variant}, whose network is trained at the scale of the images, and "
            f"view.reduce_to makes them smaller; set it to null, or take {variant} out of variants"
        )
    if "paper" in config["splits"]:
        raise InputError(
            f"configuration: variants has {variant}, whose network must not see the photographs that are validated or "
            f"tested, and in the split paper nearly every photograph is; set splits to [by_source], or take {variant} "
            "out of variants"
        )


def _check_view(view: Config) -> None:
    reduced = view["reduce_to"]
    if reduced and (view["around"] != "cell" or reduced >= view["side"]):
        raise InputError(
            f"configuration: view.reduce_to is {reduced}, which reduces the square around the cell, but "
            + (
                f"view.side is {view['side']}; set reduce_to to less"
                if view["around"] == "cell"
                else "view.around is image; set it to cell"
            )
        )


def _check_controls(config: Config) -> None:
    method, photographs = config["sources"]["method"], config["dataset"]["photographs"]
    if "ceiling" in config["variants"] and not (photographs and method in ("auto", "photographs")):
        raise InputError(
            "configuration: variants has ceiling, the photograph of each image, but "
            + (f"sources.method is {method}; set it to photographs" if photographs else "dataset.photographs is null")
            + ", or take ceiling out of variants"
        )
    for variant in config["variants"]:
        method, scale = parse_variant(variant)
        wanted = f"realesrgan_x{scale}"
        if method == "sharpened" and wanted not in config["variants"]:
            raise InputError(
                f"configuration: variants has {variant}, which is sharpened as much as {wanted}, and lacks {wanted}; "
                f"add it, or take {variant} out"
            )


def _check_store(config: Config) -> None:
    sharpened = next((variant for variant in config["variants"] if parse_variant(variant)[0] == "sharpened"), None)
    if config["store"] == "none" and sharpened:
        raise InputError(
            f"configuration: store is none, but {sharpened} is matched to stored images of Real-ESRGAN; set store to "
            f"sample, or take {sharpened} out of variants"
        )


def _check_primary(config: Config) -> None:
    primary = primary_comparison(config)
    for key, known in (("split", "splits"), ("variant", "variants"), ("against", "variants")):
        if primary[key] and primary[key] not in config[known]:
            raise InputError(
                f"configuration: evaluation.primary.{key} is {primary[key]}, which {known} does not contain; add it "
                "there, or choose another"
            )
    if primary["variant"] == primary["against"]:
        raise InputError(
            f"configuration: evaluation.primary compares {primary['variant']} with itself; choose another variant"
        )


def _check_splits(config: Config) -> None:
    parts, folds = config["by_source"]["parts"], config["by_source"]["folds"]
    if folds > parts:
        raise InputError(
            f"configuration: by_source.folds {folds} is more than by_source.parts {parts}; set folds to at most {parts}"
        )
    partitions = partitions_of(config["dataset"])
    if "paper" in config["splits"] and "test" not in partitions:
        raise InputError(
            "configuration: the split paper needs dataset.partitions, which is null; choose by_source or custom"
        )
    if "paper" in config["splits"] and "validation" in partitions:
        raise InputError(
            "configuration: splits has paper, which takes its validation images from dataset.partitions.train, so the "
            f"images of .validation ({partitions['validation']}) would not be used; choose published, by_source or "
            "custom, or set dataset.partitions.validation to null"
        )
    if "published" in config["splits"] and "validation" not in partitions:
        raise InputError(
            "configuration: splits has published, which takes the images of train, validation and test as they were "
            "published, and dataset.partitions.validation names no folder; set it, or choose another split"
        )
    if ("custom" in config["splits"]) != bool(config["custom"]):
        raise InputError(
            "configuration: splits has custom, so the key custom must name its CSV file"
            if "custom" in config["splits"]
            else "configuration: the key custom names a split, but splits lacks custom; add it, or leave the key out"
        )
    method, photographs = config["sources"]["method"], config["dataset"]["photographs"]
    if "by_source" in config["splits"] and (method == "none" or (method == "auto" and not photographs)):
        raise InputError(
            f"configuration: splits has by_source, but sources.method is {method}"
            f"{' and dataset.photographs is null' if method == 'auto' else ''}, so no source is known; set "
            "sources.method to another value, or remove by_source from splits"
        )


def _check_sources(sources: Config, dataset: Config) -> None:
    method = sources["method"]
    if method == "groups" and not dataset["labels"]:
        raise InputError(
            "configuration: sources.method groups needs dataset.labels with the column group; set it, or choose "
            "another method"
        )
    if method == "photographs" and not dataset["photographs"]:
        raise InputError(
            "configuration: sources.method is photographs, so dataset.photographs must name their folder in the archive"
        )
    for key in ("pattern", "table"):
        if method == key and sources[key] is None:
            raise InputError(f"configuration: sources.method is {key}, so sources.{key} must be given")
        if method != key and sources[key] is not None:
            raise InputError(
                f"configuration: sources.{key} is given, but sources.method is {method}; set it to {key}, or remove "
                f"sources.{key}"
            )
    if method == "pattern":
        try:
            groups = re.compile(sources["pattern"]).groups
        except re.error as error:
            raise InputError(
                f"configuration: sources.pattern {sources['pattern']!r} is not a regular expression ({error}); "
                "correct it"
            ) from error
        if groups != 1:
            raise InputError(
                f"configuration: sources.pattern {sources['pattern']!r} has {groups} groups; put the source, and only "
                "it, in parentheses"
            )
