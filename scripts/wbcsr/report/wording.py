"""The words of the report: every sentence about a result is chosen by its numbers.

Accuracies, intervals and differences are shares (0 to 1); texts show them as percentages and percentage points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pandas as pd

from wbcsr.config import Config
from wbcsr.evaluate import study, variant_label
from wbcsr.evaluate.cost import estimated, used_devices
from wbcsr.report.method import duration

# Where half of the 95 % interval of an accuracy is wider than this, the page says that images are few.
WIDE = 0.03
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True)
class Result:
    """A row of comparison.csv: trained on one variant (or `dual`), tested on another.

    `accuracy` is the mean over `runs` trainings, `spread` their standard deviation (NaN for one training), `low` and
    `high` the ends of its 95 % interval, `study` the study's accuracy (NaN where it has none).
    """

    tested_on: str
    images: int
    runs: int
    accuracy: float
    spread: float
    low: float
    high: float
    study: float


@dataclass(frozen=True)
class Difference:
    """One accuracy minus another, with the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """`higher` or `lower` where the interval leaves out zero, else `unclear`."""
        if self.low > 0:
            return "higher"
        return "lower" if self.high < 0 else "unclear"


def find_result(
    comparison: pd.DataFrame, split: str, trained_on: str, tested_on: str, subset: str = "validation"
) -> Result | None:
    """The row of comparison.csv with these four names, or None."""
    rows = comparison[
        (comparison["split"] == split)
        & (comparison["trained_on"] == trained_on)
        & (comparison["tested_on"] == tested_on)
        & (comparison["subset"] == subset)
    ]
    if rows.empty:
        return None
    row = rows.iloc[0]
    return Result(
        tested_on=tested_on,
        images=int(row["images"]),
        runs=int(row["runs"]),
        accuracy=float(row["accuracy"]),
        spread=float(row["accuracy_sd"]),
        low=float(row["accuracy_low"]),
        high=float(row["accuracy_high"]),
        study=float(row["study_accuracy"]),
    )


def difference(one: Result, other: Result) -> Difference:
    """`one` minus `other`, with the interval that follows from theirs.

    Newcombe, Statistics in Medicine 17, 1998, 873–890, method 10, for independent samples: wider than need be for two
    classifiers that are tested on the same images.
    """
    value = one.accuracy - other.accuracy
    below = math.hypot(one.accuracy - one.low, other.high - other.accuracy)
    above = math.hypot(one.high - one.accuracy, other.accuracy - other.low)
    return Difference(value, value - below, value + above)


def percent(share: float) -> str:
    """0.892 → `89.2 %`, with a no-break space; NaN → an en dash."""
    return "–" if math.isnan(share) else f"{100 * share:.1f}\u00a0%"


def points(share: float) -> str:
    """A signed difference in percentage points: -0.026 → `−2.6`; what rounds to zero has no sign."""
    if math.isnan(share):
        return "–"
    rounded = round(100 * share, 1)
    return "0.0" if rounded == 0 else f"{rounded:+.1f}".replace("-", "−")


def interval(low: float, high: float) -> str:
    """The ends of an interval of a share: `87.8–90.5 %`."""
    return "–" if math.isnan(low) else f"{100 * low:.1f}–{100 * high:.1f}\u00a0%"


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 image`, `1,989 images`; up to ten as a word."""
    word = NUMBERS[number] if number < len(NUMBERS) else f"{number:,}"
    return f"{word} {one if number == 1 else many or one + 's'}"


def listed(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def is_drawn(config: Config) -> bool:
    """Whether the images are the project's own drawings."""
    return PurePosixPath(config["dataset"]["archive"]).name == "drawn.zip"


def is_published(config: Config) -> bool:
    """Whether the images are the study's, as far as the names of their classes tell."""
    return not is_drawn(config) and set(config["dataset"]["classes"]) == set(study.CLASSES)


def subject(config: Config) -> str:
    """What the images show, as far as the names of the classes tell."""
    known = {name.upper() for name in config["dataset"]["classes"]} <= set(study.CLASSES)
    return "white blood cells" if known else "images"


def answer(comparison: pd.DataFrame, enhanced: str | None, config: Config) -> dict[str, Any]:
    """The answer in words: `verdict`, `lead`, `headline` (the numbers), `details` and `cautions` (lists).

    A verdict is higher, lower, unclear, nothing learned, or not asked.
    `comparison` holds comparison.csv with numbers in its columns of numbers; `enhanced` is the variant that stands for
    super-resolution. The answer is that of the first split's validation images, as in the study.
    """
    split = config["splits"][0]
    original = find_result(comparison, split, "original", "original")
    asked = find_result(comparison, split, enhanced, enhanced) if enhanced else None
    if original is None:
        raise ValueError(f"the comparison lacks training and testing on original in the split {split}")
    if asked is None or enhanced is None:
        return {
            "verdict": "not asked",
            "lead": "Not asked: the configuration names no enlarged variant.",
            "headline": f"On the original images ResNet-50 was right on {percent(original.accuracy)} of "
            f"{_validation_images(original)}.",
            "details": [],
            "cautions": _cautions(original, None, config),
        }
    found = difference(asked, original)
    details = [_certainty(asked, original, found), _on_test(comparison, split, enhanced)]
    details.append(_study(asked, original, found, config))
    for name in config["variants"]:
        control = find_result(comparison, split, name, name)
        if name not in ("original", enhanced) and control is not None:
            details.append(_control(asked, control))
    if config["dual"]:
        details.append(_dual(comparison, split, enhanced, asked, original))
    guessing = 1 / len(config["dataset"]["classes"])
    learned = max(original.low, asked.low) > guessing
    return {
        "verdict": found.verdict if learned else "nothing learned",
        "lead": _lead(found.verdict if learned else "nothing learned", enhanced, config),
        "headline": _headline(asked, original, found),
        "details": [detail for detail in details if detail],
        "cautions": _cautions(original, asked, config),
    }


def _lead(verdict: str, enhanced: str, config: Config) -> str:
    if is_drawn(config):
        return "A demonstration: these cells are drawn, and the accuracies mean nothing for haematology."
    label = variant_label(enhanced)
    return {
        "higher": f"Yes, here: more images were classified correctly after {label}.",
        "lower": f"No, on the contrary: fewer images were classified correctly after {label}.",
        "unclear": f"No clear difference between the original images and {label}.",
        "nothing learned": "No answer: on neither kind of images is the classifier clearly better than guessing.",
    }[verdict]


def _validation_images(result: Result) -> str:
    trainings = f", on average over {counted(result.runs, 'training')}" if result.runs > 1 else ""
    return f"{result.images:,} validation {'image' if result.images == 1 else 'images'}{trainings}"


def _gap(value: float) -> str:
    size = abs(round(100 * value, 1))
    if size == 0:
        return "the same to a tenth of a point"
    return f"{size:.1f} {'point' if size == 1 else 'points'} {'more' if value > 0 else 'fewer'}"


def _headline(asked: Result, original: Result, found: Difference) -> str:
    return (
        f"Trained and tested on images enlarged by {variant_label(asked.tested_on)}, ResNet-50 was right on "
        f"{percent(asked.accuracy)} of {_validation_images(asked)}; on the original images on "
        f"{percent(original.accuracy)}: {_gap(found.value)}."
    )


def _certainty(asked: Result, original: Result, found: Difference) -> str:
    ends = f"{points(found.low)} to {points(found.high)} points"
    side = {
        "higher": "lies above zero",
        "lower": "lies below zero",
        "unclear": "includes zero, so it may be chance" if round(100 * found.value, 1) else "includes zero",
    }[found.verdict]
    overlap = asked.low <= original.high and original.low <= asked.high
    return (
        f"The 95\u00a0% interval of the difference, {ends}, {side}; the intervals of the two accuracies, "
        f"{interval(asked.low, asked.high)} and {interval(original.low, original.high)}, "
        f"{'overlap' if overlap else 'do not overlap'}."
    )


def _on_test(comparison: pd.DataFrame, split: str, enhanced: str) -> str | None:
    original = find_result(comparison, split, "original", "original", "test")
    asked = find_result(comparison, split, enhanced, enhanced, "test")
    if original is None or asked is None:
        return None
    found = difference(asked, original)
    return (
        f"On the {asked.images:,} test images, by which nothing was chosen, it was {percent(asked.accuracy)} against "
        f"{percent(original.accuracy)}: {_gap(found.value)} (95\u00a0% interval {points(found.low)} to "
        f"{points(found.high)})."
    )


def _study(asked: Result, original: Result, found: Difference, config: Config) -> str | None:
    if math.isnan(asked.study) or math.isnan(original.study):
        return None
    published = asked.study - original.study
    told = (
        f"The study found {percent(asked.study)} on enlarged and {percent(original.study)} on original images: "
        f"{_gap(published)}."
    )
    if is_drawn(config):
        return f"{told} Those were real cells, so the numbers cannot be compared."
    if found.verdict == "unclear":
        return f"{told} This run neither confirms nor contradicts it."
    same = (found.value > 0) == (published > 0)
    return f"{told} This run points {'the same way' if same else 'the other way'}."


def _control(asked: Result, control: Result) -> str:
    found = difference(asked, control)
    compared = {
        "higher": f"{variant_label(asked.tested_on)} did better than that",
        "lower": f"{variant_label(asked.tested_on)} did worse than that",
        "unclear": f"{variant_label(asked.tested_on)} does not differ clearly from that",
    }[found.verdict]
    return (
        f"Enlarged by plain interpolation ({variant_label(control.tested_on)}), {percent(control.accuracy)} were "
        f"right; {compared} ({points(found.value)} points, 95\u00a0% interval {points(found.low)} to "
        f"{points(found.high)})."
    )


def _dual(comparison: pd.DataFrame, split: str, enhanced: str, asked: Result, original: Result) -> str | None:
    on_original = find_result(comparison, split, "dual", "original")
    on_enhanced = find_result(comparison, split, "dual", enhanced)
    if on_original is None or on_enhanced is None:
        return None
    return (
        f"Trained on both together, {percent(on_original.accuracy)} of the original images were right "
        f"({_against(on_original, original)}) and {percent(on_enhanced.accuracy)} of the enlarged ones "
        f"({_against(on_enhanced, asked)}). That training saw twice as many images in each epoch."
    )


def _against(dual: Result, single: Result) -> str:
    found = difference(dual, single)
    how = "no clear difference to" if found.verdict == "unclear" else f"clearly {found.verdict} than"
    return f"{how} training on them alone, {points(found.value)} points"


def _cautions(original: Result, asked: Result | None, config: Config) -> list[str]:
    """What cannot be concluded from these numbers."""
    cautions = []
    if original.runs == 1:
        cautions.append("Each accuracy comes from one training; how much another seed would change it is not known.")
    else:
        which = f"{100 * original.spread:.1f} points"
        if asked:
            which += f" on original and {100 * asked.spread:.1f} on enlarged images"
        cautions.append(
            f"Each accuracy is the mean of {counted(original.runs, 'training')} that differ in their seed; their "
            f"standard deviation is {which}. The intervals count the images, not the seeds."
        )
    cautions.append(
        "Of each training the epoch that did best on the validation images was kept, which flatters the accuracies "
        "on them."
    )
    cautions.append(_sources(config))
    half = (original.high - original.low) / 2
    if half > WIDE:
        cautions.append(
            f"The images are few: with {original.images:,} of them one image more or less is "
            f"{100 / original.images:.1f} points, and an accuracy is known to about ±{100 * half:.0f} points."
        )
    return cautions


def _sources(config: Config) -> str:
    if not (is_drawn(config) or is_published(config)):
        return (
            "Images of one slide or patient may stand on both sides of the split; "
            "if so, new patients would be classified less well."
        )
    copies = "Several images are turned, shifted and mirrored copies of one photograph"
    if config["splits"][0] == "paper":
        return (
            f"{copies}, and the study's split puts copies of one photograph into training and validation alike. So the "
            "accuracies tell how well copies of known cells are recognised, not the cells of a new patient, and the "
            "intervals of accuracies, which take images as independent, are too narrow."
        )
    return f"{copies}; the intervals take them as independent and are too narrow."


def price(cost: pd.DataFrame, enhanced: str | None, config: Config) -> str:
    """What `enhanced` cost beyond the original images in the first split, and what it brought; empty for None.

    `cost` holds cost.csv with numbers in its columns of numbers.
    """
    if enhanced is None:
        return ""
    rows = (cost["split"] == config["splits"][0]) & (cost["trained_on"] == enhanced)
    row = cost[rows].iloc[0]
    about = "about " if estimated(cost).loc[row.name, "more"] else ""
    label = variant_label(enhanced)
    # The GPU first: where there is one, it is what an enlargement is paid with.
    amounts = [_more(row[f"more_{device}_seconds"], device) for device in reversed(used_devices(cost))]
    measured = [amount for amount in amounts if amount]
    if len(measured) == len(amounts):
        told = f"With {label}, the images and one run on them took {about}{listed(measured)}"
        told += " than with the original images"
    else:
        told = f"What {label} cost beyond the original images was not measured"
    right = f"{percent(row['accuracy'])} of the test images were right: {_gap(row['difference_to_original'])}"
    return f"{told}, and {right}."


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
    found = []
    if is_drawn(config):
        found.append(
            "The cells are drawn by a program. They show that the workflow runs from end to end; "
            "nothing about real cells follows from them."
        )
    if enhanced:
        found.append(
            f"Every image is resized to {side} × {side} pixels for the classifier, enlarged ones too. So images of one "
            "size are compared that were resampled in different ways; detail finer than that reaches no classifier."
        )
    if enhanced and enhanced.startswith("realesrgan"):
        found.append(
            "Real-ESRGAN was trained on everyday photographs. What it adds to a cell is plausible, not observed: an "
            "enlarged image must not be read as if it came from a better microscope."
        )
    if train["init"] == "random":
        found.append(
            "ResNet-50 started from random weights. Started from ImageNet’s, it usually gets further with few images."
        )
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
