"""The names under which results appear.

This module imports nothing heavy, so that rules can list the figures before any of them is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping

from wbcsr.config import (
    Config,
    extra_tests_of,
    parse_training,
    parse_variant,
    partitions_of,
    training_variants,
)

# What every split tests beside the extra tests.
SUBSETS = ("validation", "test")
# What a comparison of two arms asks, in the order of the tables.
QUESTIONS = {
    "primary": "Primary comparison",
    "enlargement": "Upscaled versus original",
    "control": "Real-ESRGAN versus interpolation",
    "dual": "Trained on both versus one",
    "one network": "One network, upscaled versus original images",
    "cross": "Cross-variant evaluation",
    "size": "At another input size",
}
MEASURES = {"recall": "Recall", "pair accuracy": "Pair accuracy", "pair confusion": "Pairwise confusion"}
CLASSIFIERS = {
    "resnet50": "ResNet-50",
    "efficientnet_lite0": "EfficientNet-Lite0",
    "efficientnet_lite2": "EfficientNet-Lite2",
}
NO_ENHANCED = "Empty: the configuration names no variant besides original."
# Letters: ALL, BASO.
LONGEST_ABBREVIATION = 4
_METHODS = {"bicubic": "bicubic", "lanczos": "Lanczos", "realesrgan": "Real-ESRGAN"}


def subsets_of(partitions: Mapping[str, str]) -> list[str]:
    """The subsets that classifiers are tested on: `SUBSETS`, and the extra tests among the partitions by use."""
    return [*SUBSETS, *extra_tests_of(partitions)]


def confusion_name(split: str, trained_on: str, tested_on: str, subset: str) -> str:
    """The name, without suffix, of the figure with one run's confusion matrix."""
    return f"confusion_{split}_{trained_on}_on_{tested_on}_{subset}"


def figure_names(config: Config) -> list[str]:
    """The names, without suffix, of all figures that a complete configuration leads to."""
    return [
        *("fig2", "fig3", "fig9", "fig10", "fig11", "fig12", "accuracy", "differences"),
        *(f"{kind}_{split}" for split in config["splits"] for kind in ("reliability", "curves")),
        *(
            confusion_name(split, trained_on, tested_on, subset)
            for split in config["splits"]
            for trained_on, tested in training_variants(config).items()
            for tested_on in tested
            for subset in subsets_of(partitions_of(config["dataset"]))
        ),
    ]


def variant_label(variant: str) -> str:
    """A variant as a reader sees it: `realesrgan_x4` → `Real-ESRGAN ×4`; `original` and `dual` stay.

    So with a training variant of a further input size: `original_448px` → `original at 448 px`.
    """
    name, size = parse_training(variant)
    method, scale = parse_variant(name)
    label = _METHODS.get(method, method) + (f" ×{scale}" if scale > 1 else "")
    return f"{label} at {size} px" if size else label


def arm_label(trained_on: str, tested_on: str) -> str:
    """An arm as a reader sees it: its variant, or, where it was tested on another, both."""
    if parse_training(trained_on)[0] == tested_on:
        return variant_label(trained_on)
    return f"{variant_label(trained_on)}, tested on {variant_label(tested_on)}"


def class_labels(classes: list[str]) -> list[str]:
    """The classes as a reader sees them: where all are in capitals, words but no abbreviations in sentence case."""
    words = all(name.isupper() for name in classes)
    return [name.capitalize() if words and len(name) > LONGEST_ABBREVIATION else name for name in classes]


def summary_label(name: str, classes: list[str]) -> str:
    """The name of a row or column of all classes together: `name`, and a word more where a class is called so."""
    return f"{name} (all classes)" if name.casefold() in map(str.casefold, classes) else name
