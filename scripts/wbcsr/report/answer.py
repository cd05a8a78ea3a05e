"""The answer in words: a verdict with its interval, what it rests on, and what cannot be concluded from it.

Every sentence is chosen by the numbers of the tables.
"""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from wbcsr.config import Config, parse_training
from wbcsr.present.text import listed
from wbcsr.report.results import Difference, Result, find_difference, find_result
from wbcsr.report.wording import counted, gap, is_drawn, percent, points, probability
from wbcsr.stats.intervals import CONFIDENCE, LEAST_SOURCES
from wbcsr.study import published
from wbcsr.study.labels import class_labels, variant_label
from wbcsr.study.plan import Plan

# Where half of the 95 % interval of the difference is wider than this, the page says what goes unseen.
WIDE = 0.03


def answer(results: dict[str, pd.DataFrame], config: Config) -> dict[str, Any]:
    """The answer in words: `verdict`, `lead` (it and its interval), `headline` (accuracies), `details` and `cautions`.

    A verdict is higher, lower, unclear, nothing learned, unknown (too few sources), or not asked. `results` are the
    tables of `wbcsr.report.results.read_tables`. The answer is that of the images that `Plan.judged` names.
    """
    plan = Plan.of(config)
    asked_of = plan.judged
    comparison = results["comparison"]
    enhanced = plan.enhanced
    original = _own(comparison, asked_of, "original")
    asked = _own(comparison, asked_of, enhanced) if enhanced else None
    if original is None:
        raise ValueError(f"the comparison lacks training and testing on original in the split {asked_of[0]}")
    found = _between(results, asked_of, (enhanced,) * 2, ("original",) * 2) if enhanced else None
    if asked is None or enhanced is None or found is None:
        return {
            "verdict": "not asked",
            "lead": "Not asked: the configuration names no variant besides original.",
            "headline": f"On original images, the classifier reached an accuracy of {percent(original.accuracy)} on "
            f"{_tested_images(original, asked_of, plan)}.",
            "details": list(filter(None, [_paper(comparison, None, plan)])),
            "cautions": _cautions(original, None, None, results, plan, config),
        }
    images = results["leakage"].loc[asked_of, "images"]
    # Who always names the largest class is right as often as that.
    guessing = float(images.drop("").max() / images[""])
    learned = not max(original.accuracy_low, asked.accuracy_low) <= guessing
    verdict = found.verdict if learned else "nothing learned"
    controls = [name for name in plan.variants if name.startswith(("bicubic", "lanczos")) and name != enhanced]
    details = [_certainty(found, asked), _paper(comparison, enhanced, plan), _study(found, comparison, plan, config)]
    if learned:
        details += [
            *(_control(results, asked_of, enhanced, name) for name in controls),
            _cross(results, asked_of, enhanced),
            _dual(results, asked_of, enhanced),
            *(_size(results, asked_of, name, plan) for name in plan.trainings),
        ]
    beaten = [_between(results, asked_of, (enhanced,) * 2, (name,) * 2) for name in controls]
    return {
        "verdict": verdict,
        "lead": _lead(
            verdict, enhanced, found, original, all(one and one.verdict == "higher" for one in beaten), config
        ),
        "headline": _headline(asked, original, asked_of, plan),
        "details": [detail for detail in details if detail],
        "cautions": _cautions(original, asked, found, results, plan, config),
    }


def _own(comparison: pd.DataFrame, asked_of: tuple[str, str], variant: str) -> Result | None:
    split, subset = asked_of
    return find_result(comparison, split, variant, variant, subset)


def _between(
    results: dict[str, pd.DataFrame], asked_of: tuple[str, str], arm: tuple[str, ...], against: tuple[str, ...]
) -> Difference | None:
    return find_difference(results["differences"], *asked_of, (arm[0], arm[1]), (against[0], against[1]))


def _lead(
    verdict: str, enhanced: str, found: Difference, original: Result, beats_controls: bool, config: Config
) -> str:
    """The verdict in a sentence; a gain that plain interpolation has as well is not super-resolution's."""
    if is_drawn(config):
        return "A demonstration: these cells are drawn, and the accuracies mean nothing for haematology."
    label = variant_label(enhanced)
    told = {
        "alike": f"No clear difference between the original images and {label}: {found.why.split(';')[0]}",
        "higher": f"Yes, in this study: the accuracy was higher with {label}",
        "lower": f"No: the accuracy was lower with {label}",
        "unclear": f"No clear difference between the original images and {label}",
        "nothing learned": "No answer: the classifier is not clearly better than guessing with either variant",
        "unknown": f"No answer: too few independent sources to compare the original images with {label}",
    }[verdict]
    once = ", of one training" if original.runs == 1 and verdict in ("higher", "lower") else ""
    told += f" ({_with_interval(found)}{once})"
    if verdict == "higher" and enhanced.startswith("realesrgan") and not beats_controls:
        told += ", but not clearly higher than with plain interpolation"
    if not enhanced.startswith("realesrgan"):
        told += "; this says nothing about super-resolution, as the configuration has no such variant"
    return f"{told}."


def _with_interval(found: Difference) -> str:
    ends = "" if math.isnan(found.low) else f", 95\u00a0% interval {points(found.low)} to {points(found.high)}"
    return f"{points(found.difference)} points{ends}"


def _tested_images(result: Result, asked_of: tuple[str, str], plan: Plan) -> str:
    trainings = f", on average over {_trainings(result, plan)}" if result.runs > 1 else ""
    images = f"{result.images:,} {asked_of[1]} {'image' if result.images == 1 else 'images'}"
    leak = f", {percent(result.shared / result.images)} of them with a copy in training" if result.shared > 0 else ""
    return f"{images}{_of_sources(result)}{leak}{trainings}"


def _trainings(result: Result, plan: Plan) -> str:
    """How often each arm was trained; where a split has folds, for each of them."""
    each = " for each fold" if plan.judged[0] == "by_source" else ""
    return f"{counted(result.runs, 'training')}{each}"


def _of_sources(result: Result) -> str:
    """How many sources stand behind the images; empty where none is known."""
    if math.isnan(result.sources):
        return ""
    return f" of {int(result.sources):,} independent {'source' if result.sources == 1 else 'sources'}"


def _headline(asked: Result, original: Result, asked_of: tuple[str, str], plan: Plan) -> str:
    return (
        f"Trained and tested on {variant_label(asked.tested_on)} images, the classifier reached an accuracy of "
        f"{percent(asked.accuracy)} on {_tested_images(asked, asked_of, plan)}; with original images it reached "
        f"{percent(original.accuracy)}: {gap(asked.accuracy - original.accuracy)}."
    )


def _certainty(found: Difference, asked: Result) -> str:
    ends = f"{points(found.low)} to {points(found.high)} points"
    side = {
        "above": f"The 95\u00a0% interval of the difference, {ends}, lies above zero",
        "below": f"The 95\u00a0% interval of the difference, {ends}, lies below zero",
        "around": f"The 95\u00a0% interval of the difference, {ends}, includes zero",
        "nowhere": f"There is no interval of the difference: {found.why}",
    }[found.side]
    if found.side in ("above", "below") and found.verdict == "unclear":
        side += ", but the test does not confirm it"
    units = "images (their sources are not known)" if math.isnan(asked.sources) else "sources"
    return (
        f"{side}. If both classifiers were equally accurate, exchanging {units} between them at random would give a "
        f"difference as large with p\u00a0{probability(found.p_sources)} ({probability(found.p_holm)} corrected for "
        "all comparisons of the table)."
    )


def _paper(comparison: pd.DataFrame, enhanced: str | None, plan: Plan) -> str | None:
    """What the study would have reported of this run, and what stands behind it."""
    if "paper" not in plan.splits:
        return None
    original = _own(comparison, ("paper", "validation"), "original")
    asked = _own(comparison, ("paper", "validation"), enhanced) if enhanced else None
    if original is None:
        return None
    told = f"{percent(original.accuracy)} on original images"
    told = f"{percent(asked.accuracy)} on {variant_label(asked.tested_on)} and {told}" if asked else told
    images = counted(original.images, "validation image")
    scored = f"Evaluated as in the study, on {images} of its split, accuracy was {told}"
    if math.isnan(original.sources):
        return f"{scored}."
    return f"{scored}; but these come from {counted(int(original.sources), 'source')}, and {shared(original)}."


def shared(result: Result) -> str:
    """How many of the images have a copy in training, as a clause."""
    if result.shared == 0:
        return "none is known to have a copy from its source in training"
    if result.shared == result.images:
        return "every one has a copy from its source in training"
    return f"{int(result.shared):,} of them ({percent(result.shared / result.images)}) have a copy in training"


def _study(found: Difference, comparison: pd.DataFrame, plan: Plan, config: Config) -> str | None:
    original = _own(comparison, ("paper", "validation"), "original")
    asked = _own(comparison, ("paper", "validation"), str(plan.enhanced))
    if original is None or asked is None or math.isnan(asked.study_accuracy) or math.isnan(original.study_accuracy):
        return None
    difference = asked.study_accuracy - original.study_accuracy
    told = (
        f"The study reported {percent(asked.study_accuracy)} with super-resolution and "
        f"{percent(original.study_accuracy)} on original images: "
        f"{gap(difference)}."
    )
    if is_drawn(config):
        return f"{told} Those were real cells, so the numbers cannot be compared."
    images, shared_images = published.VALIDATION_IMAGES, published.VALIDATION_SHARED
    told += (
        f" Its {images:,} validation images come from {published.VALIDATION_SOURCES} photographs, and "
        f"{'every one' if shared_images == images else f'{shared_images:,}'} has a copy of its photograph in training."
    )
    if found.verdict not in ("higher", "lower"):
        return f"{told} This run neither confirms nor contradicts its difference."
    same = (found.difference > 0) == (difference > 0)
    return f"{told} This run points {'the same way' if same else 'the other way'}."


def _control(results: dict[str, pd.DataFrame], asked_of: tuple[str, str], enhanced: str, control: str) -> str | None:
    own = _own(results["comparison"], asked_of, control)
    found = _between(results, asked_of, (enhanced,) * 2, (control,) * 2)
    if own is None or found is None:
        return None
    label = variant_label(enhanced)
    compared = {
        "higher": f"{label} did better than that",
        "lower": f"{label} did worse than that",
        "unclear": f"{label} shows no detectable difference from that",
        "alike": f"{label} hardly differs from that",
        "unknown": f"there are too few sources to compare {label} with that",
    }[found.corrected]
    return f"With {variant_label(control)}, accuracy was {percent(own.accuracy)}; {compared} ({_with_interval(found)})."


def _cross(results: dict[str, pd.DataFrame], asked_of: tuple[str, str], enhanced: str) -> str | None:
    """How a classifier that was trained on original images does on the others."""
    found = _between(results, asked_of, ("original", enhanced), ("original", "original"))
    if found is None:
        return None
    return (
        f"Tested on {variant_label(enhanced)} images, a classifier trained on original images {_than(found)} the same "
        f"classifier tested on original images ({_with_interval(found)})."
    )


def _dual(results: dict[str, pd.DataFrame], asked_of: tuple[str, str], enhanced: str) -> str | None:
    told = []
    for variant in ("original", enhanced):
        found = _between(results, asked_of, ("dual", variant), (variant, variant))
        if found is not None:
            told.append(
                f"on {variant_label(variant)} images it {_than(found)} a classifier trained on these alone "
                f"({_with_interval(found)})"
            )
    if not told:
        return None
    return f"Dual training, on both variants: {listed(told)}. It saw twice as many images in each epoch."


def _size(results: dict[str, pd.DataFrame], asked_of: tuple[str, str], training: str, plan: Plan) -> str | None:
    """Whether a larger input lets the classifier make use of the upscaling."""
    name, size = parse_training(training)
    if size is None or name != plan.enhanced:
        return None
    found = _between(results, asked_of, (training, name), (f"original_{size}px", "original"))
    if found is None:
        return None
    return (
        f"At an input size of {size} pixels, a classifier of {variant_label(name)} images {_than(found)} a classifier "
        f"of original images ({_with_interval(found)})."
    )


def _than(found: Difference) -> str:
    return {
        "higher": "is more accurate than",
        "lower": "is less accurate than",
        "unclear": "shows no detectable difference from",
        "alike": "hardly differs from",
        "unknown": "is tested by too few sources to be compared with",
    }[found.corrected]


def _cautions(
    original: Result,
    asked: Result | None,
    found: Difference | None,
    results: dict[str, pd.DataFrame],
    plan: Plan,
    config: Config,
) -> list[str]:
    """What cannot be concluded from these numbers."""
    cautions = []
    if original.runs == 1:
        cautions.append(
            f"Each accuracy comes from {_trainings(original, plan)}; how much another seed would change it is not "
            "known."
        )
    else:
        which = f"{100 * original.accuracy_sd:.1f} points"
        if asked:
            which += f" on original and {100 * asked.accuracy_sd:.1f} on {variant_label(asked.tested_on)} images"
        cautions.append(
            f"Each accuracy is the mean of {_trainings(original, plan)} that differ in their seed; their "
            f"standard deviation is {which}. The intervals of differences include how much trainings differ; those of "
            "single accuracies do not."
        )
    cautions.append(
        "Each training kept the epoch that did best on the validation images, so accuracies on these are too "
        "optimistic; the answer is from the test images."
    )
    cautions.append(_sources(original, plan, config))
    cautions += _thin_classes(results["leakage"], plan)
    half = (found.high - found.low) / 2 if found else math.nan
    if half > WIDE:
        cautions.append(
            f"The difference is known to about ±{100 * half:.0f} points here; a much smaller one would not be detected."
        )
    return cautions


def _sources(original: Result, plan: Plan, config: Config) -> str:
    if math.isnan(original.sources):
        return (
            "The sources of the images are not known, so each image counts as a source of its own. If training and "
            "test images come from one slide or patient, new patients would be classified less well, and the intervals "
            "are too narrow. The configuration's section sources says which images belong together."
        )
    split, subset = plan.judged
    if original.shared:
        return (
            f"Of the {subset} images of the split {split}, {shared(original)}: such images show how well copies of "
            "known cells are recognised, not the cells of a new patient. The split by_source has no such images."
        )
    method = config["sources"]["method"]
    if method in ("pattern", "table", "groups", "each"):
        return "Images count as independent where the configuration's section sources gives them different sources."
    source = "all images that show the same cells" if method == "images" else "a photograph"
    return (
        f"A source is {source}; several may be of one patient or one slide, which the data does not say. New patients "
        "may be classified less well."
    )


def _thin_classes(leakage: pd.DataFrame, plan: Plan) -> list[str]:
    """What the classes can and cannot show that only few sources are tested of."""
    told = []
    labels = dict(zip(plan.classes, class_labels(plan.classes), strict=True))
    for name in plan.classes:
        sources, images = (int(leakage.loc[(*plan.judged, name), column]) for column in ("sources", "images"))
        if not images:
            told.append(f"No image of {labels[name]} is tested.")
        if 0 < sources < LEAST_SOURCES:
            # All right: the exact interval of Clopper and Pearson (Biometrika 26, 1934) begins at (α/2)^(1/n).
            least = 100 * ((1 - CONFIDENCE) / 2) ** (1 / sources)
            smallest = 2 / 2**sources
            cannot = (
                f"no difference in it could be shown, for the smallest p-value that they can give is {smallest:.2f}"
                if smallest > 1 - CONFIDENCE
                else "no interval of a difference in it is given"
            )
            told.append(
                f"The class {labels[name]} is tested by {counted(sources, 'source')}: were all of them right, its "
                f"recall could still be as low as {least:.0f}\u00a0%, and {cannot}."
            )
    return told
