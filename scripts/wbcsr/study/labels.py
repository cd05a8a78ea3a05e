"""The labels of results in tables and figures.

This module imports only light packages, so that rules can list the figures before the figures are drawn.
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
# The questions that comparisons of two arms answer, in the order of the tables.
QUESTIONS = {
    "primary": "Primary comparison",
    "enlargement": "Upscaled versus original",
    "control": "Super-resolution versus interpolation",
    "networks": "One network versus another",
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
CLASSIFIERS |= {f"{name}_groupnorm": f"{label} with group normalisation" for name, label in CLASSIFIERS.items()}
NO_ENHANCED = "Empty: the configuration has no variant other than original."
NOT_STORED = "Empty: the configuration stores no upscaled images (store: none)."
# Number of letters; longer class names are words, shorter ones (ALL, BASO) abbreviations.
LONGEST_ABBREVIATION = 4
_METHODS = {
    "bicubic": "bicubic",
    "lanczos": "Lanczos",
    "realesrgan": "Real-ESRGAN",
    "finetuned": "fine-tuned Real-ESRGAN",
    "sharpened": "sharpened bicubic",
}


def subsets_of(partitions: Mapping[str, str]) -> list[str]:
    """The subsets that classifiers are tested on: `SUBSETS`, and the extra tests among the partitions by use."""
    return [*SUBSETS, *extra_tests_of(partitions)]


def confusion_name(split: str, trained_on: str, tested_on: str, subset: str) -> str:
    """The name, without suffix, of the figure of one run's confusion matrix."""
    return f"confusion_{split}_{trained_on}_on_{tested_on}_{subset}"


def figure_names(config: Config) -> list[str]:
    """The names, without suffix, of all figures of a study with this complete configuration."""
    return [
        *(f"fig{number}" for number in (1, 2, 3, 9, 10, 11, 12)),
        *("enlargements", "accuracy", "differences"),
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
    """The label of a variant: `realesrgan_x4` → `Real-ESRGAN ×4`; `original` and `dual` are not changed.

    A training variant of a further input size has it in its label: `original_448px` → `original at 448 px`.
    """
    name, size = parse_training(variant)
    method, scale = parse_variant(name)
    times = "÷" if method == "reduced" else "×"
    label = _METHODS.get(method, method) + (f" {times}{scale}" if scale > 1 else "")
    return f"{label} at {size} px" if size else label


def arm_label(trained_on: str, tested_on: str) -> str:
    """The label of an arm: its variant; if it was tested on another variant than it was trained on, both."""
    if parse_training(trained_on)[0] == tested_on:
        return variant_label(trained_on)
    return f"{variant_label(trained_on)}, tested on {variant_label(tested_on)}"


def class_labels(classes: list[str]) -> list[str]:
    """The labels of the classes: if all names are in capitals, words get sentence case and abbreviations stay as is."""
    words = all(name.isupper() for name in classes)
    return [name.capitalize() if words and len(name) > LONGEST_ABBREVIATION else name for name in classes]


def summary_label(name: str, classes: list[str]) -> str:
    """The label of a row or column for all classes: `name`, with an addition if a class has the same name."""
    return f"{name} (all classes)" if name.casefold() in map(str.casefold, classes) else name
