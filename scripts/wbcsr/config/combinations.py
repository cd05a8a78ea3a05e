"""Checks keys of the configuration against each other, which the schema of single keys cannot express."""

from __future__ import annotations

import difflib
import re

from wbcsr.config import (
    FINETUNED,
    MAIN_USES,
    WITHOUT_NETWORK,
    Config,
    enhanced_variant,
    extra_tests_of,
    is_finetuned,
    is_super_resolved,
    parse_variant,
    partitions_of,
    primary_comparison,
)
from wbcsr.errors import InputError

# Names that extra tests cannot have: the other subsets, and the columns of Table 2.
RESERVED_SUBSETS = {*MAIN_USES, "class", "total", "study_train", "study_test", "study_total"}
# The archive that a rule downloads if it is missing.
DOWNLOADED = "data/archive.zip"


def check_combinations(config: Config) -> None:
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
