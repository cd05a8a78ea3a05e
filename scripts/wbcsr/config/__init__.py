"""What a configuration says: its variants, trainings, splits and partitions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

Config = dict[str, Any]

# The partition of images that were published without partitions.
UNPUBLISHED = "ALL"
# The uses of a partition that is not an extra test.
MAIN_USES = ("train", "validation", "test")
# Folders that the workflow writes into its working folder.
OWN_FOLDERS = ("results", "logs", "benchmarks")
# The variants that no super-resolution network makes, without their scale; a model cannot have these names.
WITHOUT_NETWORK = ("original", "ceiling", "bicubic", "lanczos", "sharpened", "reduced")
# The network that is fine-tuned on the photographs, as variants name it.
FINETUNED = "finetuned"
# How many images of each class of the training partition are PNG files with `store` sample: the figures choose among
# the first 50 of them, and the sharpness of Real-ESRGAN is measured on at most the first 64.
SAMPLE = 64


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


def own_weights_of(config: Config) -> dict[str, Config]:
    """The sections of the configuration that name a file of weights of the user, by their keys."""
    own = {f"models.{name}": model for name, model in config["models"].items()}
    return ({"weights": config["weights"]} if config["weights"]["source"] == "path" else {}) | own
