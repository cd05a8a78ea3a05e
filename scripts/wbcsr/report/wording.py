"""The words of the report: numbers as text, the price of upscaling, limits and licences.

Accuracies, intervals and differences are shares (0 to 1); texts show them as percentages and percentage points.
"""

from __future__ import annotations

import math
from pathlib import PurePosixPath

import pandas as pd

from wbcsr.config import Config
from wbcsr.present.text import NONE, listed, number_text
from wbcsr.report.method import duration
from wbcsr.stats.cost import estimated, used_devices
from wbcsr.study import published
from wbcsr.study.labels import variant_label
from wbcsr.study.plan import Plan
from wbcsr.text import noun

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def percent(share: float) -> str:
    """0.892 → `89.2 %`, with a no-break space; NaN → an en dash."""
    return "–" if math.isnan(share) else f"{100 * share:.1f}\u00a0%"


def points(share: float) -> str:
    """A signed difference in percentage points: -0.026 → `−2.6`; what rounds to zero has no sign."""
    return number_text(100 * share, "+.1f") or NONE


def probability(value: float) -> str:
    """A p-value after the letter: `= 0.031`, `< 0.001`."""
    return "<\u00a00.001" if value < 0.001 else f"=\u00a0{value:.3f}"


def gap(value: float) -> str:
    """A difference in percentage points in words: -0.026 → `2.6 points lower`."""
    size = abs(round(100 * value, 1))
    if size == 0:
        return "the same to a tenth of a point"
    return f"{size:.1f} {'point' if size == 1 else 'points'} {'higher' if value > 0 else 'lower'}"


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 image`, `1,989 images`; up to ten as a word."""
    word = NUMBERS[number] if number < len(NUMBERS) else f"{number:,}"
    return f"{word} {noun(number, one, many)}"


def first_fold(split: str, config: Config) -> str:
    """A split's name where only its first fold is shown: `by_source (first of five folds)`."""
    folds = config["by_source"]["folds"]
    if split != "by_source" or folds == 1:
        return split
    return f"{split} (first of {counted(folds, 'fold')})"


def is_drawn(config: Config) -> bool:
    """Whether the images are the project's own drawings."""
    return PurePosixPath(config["dataset"]["archive"]).name == "drawn.zip"


def is_published(config: Config) -> bool:
    """Whether the images are the study's, as far as the names of their classes tell."""
    return not is_drawn(config) and set(config["dataset"]["classes"]) == set(published.CLASSES)


def subject(config: Config) -> str:
    """What the images show, as far as the names of the classes tell."""
    known = {name.upper() for name in config["dataset"]["classes"]} <= set(published.CLASSES)
    return "white blood cells" if known else "images"


def price(cost: pd.DataFrame, enhanced: str | None, config: Config) -> str:
    """What `enhanced` cost beyond the original images, and what it brought in the answer's split; empty for None.

    `cost` holds cost.csv with numbers in its columns of numbers.
    """
    if enhanced is None:
        return ""
    rows = (cost["split"] == Plan.of(config).judged[0]) & (cost["trained_on"] == enhanced)
    row = cost[rows].iloc[0]
    about = "about " if estimated(cost).loc[row.name, "more"] else ""
    label = variant_label(enhanced)
    # The GPU first: where there is one, it is what upscaling costs most.
    amounts = [_more(row[f"more_{device}_seconds"], device) for device in reversed(used_devices(cost))]
    measured = [amount for amount in amounts if amount]
    if len(measured) == len(amounts):
        told = f"With {label}, the images and one run on them took {about}{listed(measured)}"
        told += " than with the original images"
    else:
        told = f"What {label} cost beyond the original images was not measured"
    accuracy = f"accuracy on the test images was {percent(row['accuracy'])}: {gap(row['difference_to_original'])}"
    return f"{told}, and {accuracy}."


def _more(seconds: float, device: str) -> str | None:
    """A difference in seconds, from a minute on also in larger units; None where it was not measured."""
    if math.isnan(seconds):
        return None
    size = abs(seconds)
    text = f"{size:.1f}" if size < 9.95 else f"{size:,.0f}"
    if not text.strip("0."):
        return f"no more {device.upper()} seconds"
    longer = f" ({duration(size)})" if size >= 59.5 else ""
    return f"{text} {device.upper()} seconds{longer} {'more' if seconds > 0 else 'less'}"


def limitations(enhanced: str | None, config: Config) -> list[str]:
    """What limits every number of the page, beside the cautions of the answer."""
    dataset, train = config["dataset"], config["train"]
    side = train["input_size"]
    also = "".join(f", in some arms to {size} × {size}" for size in train["extra_input_sizes"])
    found = []
    if is_drawn(config):
        found.append(
            "The cells are drawn by a program. They show that the workflow runs from end to end; "
            "nothing about real cells follows from them."
        )
    if enhanced:
        found.append(
            f"Every image, upscaled or not, is resized to {side} × {side} pixels for the classifier{also}. The study "
            "therefore compares images of one size that were resampled in different ways; finer detail reaches no "
            "classifier."
        )
    if enhanced and enhanced.startswith("realesrgan"):
        found.append(
            "Real-ESRGAN was trained on everyday photographs. What it adds to a cell is plausible, not observed: a "
            "super-resolved image must not be read as if it came from a better microscope."
        )
    if train["init"] == "random":
        found.append(
            "ResNet-50 started from random weights. With few images, it usually gets further from ImageNet’s weights."
        )
    if dataset["images"]:
        found.append(f"Only the images that {dataset['images']} lists were used.")
    if dataset["limit_per_class"]:
        found.append(f"Only the first {dataset['limit_per_class']} images of each partition and class were used.")
    found.append(
        "One architecture with one set of training settings, one data set: others may answer differently. "
        "Nothing here is fit for diagnosis."
    )
    return found


def licences(enhanced: str | None, config: Config) -> list[str]:
    """Under what terms the images and the weights stand, as far as the configuration tells."""
    if is_drawn(config):
        found = ["Images: drawn by this project."]
    elif is_published(config):
        found = [f"Images: Kaggle, “Blood Cell Images” ({config['dataset']['kaggle']}), MIT."]
    else:
        found = [f"Images: your own, from {config['dataset']['archive']}; their terms are not known here."]
    if enhanced and enhanced.startswith("realesrgan"):
        own = config["weights"]["source"] == "path"
        found.append(
            "Weights: a file of your own; its terms are not known here."
            if own
            else "Weights: Real-ESRGAN (Xintao Wang and others), BSD-3-Clause."
        )
    return found
