"""The answer in words: a verdict with its interval, what it is based on, and what cannot be concluded from it.

The numbers of the tables decide which sentences are used.
"""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from wbcsr.config import Config, is_super_resolved, is_synthetic, parse_variant
from wbcsr.present.tables.accuracies import METRICS, share_of
from wbcsr.present.tables.differences import why_none
from wbcsr.present.text import listed
from wbcsr.report.numbers import chance, counted, gap, percent, points
from wbcsr.report.results import find_arm, find_difference
from wbcsr.stats.correlation import design_effect, p_unpaired
from wbcsr.stats.intervals import CONFIDENCE, LEAST_SOURCES
from wbcsr.stats.verdicts import LEAST_SEEDS
from wbcsr.study import published
from wbcsr.study.labels import variant_label
from wbcsr.study.plan import Plan

# If half of the 95 % interval of the difference is wider than this, the page says what may remain undetected.
WIDE = 0.03
# Correlations between images of one photograph for which the published difference is tested again.
CORRELATIONS = (0.1, 0.3)
# What was found of X compared with Y, for each finding of `wbcsr.stats.verdicts`.
FOUND = {
    "higher": "{metric} was higher with {x} than with {y}",
    "lower": "{metric} was lower with {x} than with {y}",
    "equivalent": "{x} and {y} are equivalent within ±{margin:g} points of {metric}",
    "non_inferior": "with {x}, {metric} is at most {margin:g} points lower than with {y}; a gain is not shown",
    "no_detectable_difference": "no detectable difference between {x} and {y} in {metric}",
    "unknown": "too few sources to compare {x} with {y}",
}
# What the study did not find, for each control of `wbcsr.stats.controls`.
CONTROL_FAILED = {
    "positive": "the loss of detail in {against} images was not detected; {variant} images minus {against} images",
    "ceiling": "{variant} images, which have more true detail, were not detectably better than {against} images",
}
OPENING = {"higher": "Yes, in this study: ", "lower": "No: ", "equivalent": "No: ", "unknown": "No answer: "}


def answer(results: dict[str, pd.DataFrame], config: Config) -> dict[str, Any]:
    """The answer in words: `verdict`, `lead`, `sentences` after it, `published` (the study's own result), `cautions`.

    The verdict is one of `wbcsr.stats.verdicts`, `nothing learned` or `not asked`. `results` are the tables of
    `wbcsr.report.results.read_tables`. The answer uses the split and subset of `Plan.judged`.
    """
    plan = Plan.of(config)
    comparison, primary = results["comparison"], plan.evaluation["primary"]
    enhanced, against = primary["variant"], primary["against"]
    original = find_arm(comparison, *plan.judged, "original")
    if original is None:
        raise ValueError(f"the comparison lacks training and testing on original in the split {plan.judged[0]}")
    asked = find_arm(comparison, *plan.judged, enhanced) if enhanced else None
    baseline = find_arm(comparison, *plan.judged, against) if enhanced else None
    found = find_difference(results["differences"], *plan.judged, enhanced, against) if enhanced else None
    cautions = _controls(results["controls"]) + _cautions(original, asked, found, results["leakage"], plan, config)
    if asked is None or baseline is None or found is None:
        return {
            "verdict": "not asked",
            "lead": "Not asked: the configuration names no variant besides original.",
            "sentences": [f"Accuracy was {_accuracy(original)} on the original images: {_tested(original, plan)}."],
            "published": "",
            "cautions": cautions,
        }
    images = results["leakage"].loc[plan.judged, "images"]
    # Always predicting the largest class has this accuracy.
    guessing = float(images.drop("").max() / images[""])
    learned = not max(baseline["accuracy_low"], asked["accuracy_low"]) <= guessing
    verdict = found["verdict"] if learned else "nothing learned"
    interpolated = [name for name in plan.variants if parse_variant(name)[0] in ("bicubic", "lanczos")]
    controls = [name for name in interpolated if name not in (enhanced, against)]
    compared = {name: find_difference(results["differences"], *plan.judged, enhanced, name) for name in controls}
    made = {name: one for name, one in compared.items() if one is not None}
    beaten = len(made) == len(compared) and all(one["finding"] == "higher" for one in made.values())
    sentences = [
        f"Accuracy was {_accuracy(asked)} with {variant_label(enhanced)} and {_accuracy(baseline)} with "
        f"{'the original' if against == 'original' else variant_label(against)} images: {_tested(asked, plan)}.",
        _certainty(found),
    ]
    if learned and made:
        parts = [_found(one, enhanced, name) + _with_interval(one) for name, one in made.items()]
        sentences.append(f"Compared with plain interpolation: {listed(parts)}.")
    return {
        "verdict": verdict,
        "lead": _lead(verdict, (enhanced, against), found, beaten, config),
        "sentences": sentences,
        "published": _published(verdict, comparison, plan) if against == "original" else "",
        "cautions": cautions,
    }


def _accuracy(arm: pd.Series) -> str:
    return share_of(arm["accuracy"], arm["images"])


def _lead(verdict: str, compared: tuple[str, str], found: pd.Series, beaten: bool, config: Config) -> str:
    """The verdict in a sentence. A gain that plain interpolation also has is not attributed to super-resolution."""
    if is_synthetic(config):
        return "A demonstration: these cells are drawn, and the accuracies mean nothing for haematology."
    if verdict == "nothing learned":
        return f"No answer: the classifier is not detectably better than guessing{_with_interval(found)}."
    opening = "Provisional: " if verdict == "provisional" else OPENING.get(verdict, "")
    enhanced, against = compared
    lead = opening + _found(found, enhanced, against) + _with_interval(found)
    if found["finding"] == "higher" and is_super_resolved(enhanced) and against == "original" and not beaten:
        lead += ", but not detectably higher than with plain interpolation"
    if verdict == "provisional":
        lead += (
            f"; a verdict needs {LEAST_SEEDS} trainings with different seeds, and this study has {found['seeds']:.0f}"
        )
    if not is_super_resolved(enhanced):
        lead += "; this says nothing about super-resolution, because the configuration has no such variant"
    return f"{lead[0].upper()}{lead[1:]}."


def _found(found: pd.Series, variant: str, against: str) -> str:
    labels = {key: variant_label(name) + " images" for key, name in (("x", variant), ("y", against))}
    return FOUND[found["finding"]].format(metric=_metric(found), margin=100 * found["margin"], **labels)


def compared_text(found: pd.Series, variant: str, against: str) -> str:
    """What was found of two variants, with the difference, its interval, and the verdict if it is another one."""
    verdict = "" if found["verdict"] == found["finding"] else f"; verdict: {found['verdict'].replace('_', ' ')}"
    return f"{_found(found, variant, against)}{_with_interval(found)}{verdict}"


def _metric(found: pd.Series) -> str:
    return METRICS[found["metric"]].lower()


def _with_interval(found: pd.Series) -> str:
    low, high = found["metric_low"], found["metric_high"]
    ends = "" if math.isnan(low) else f", 95\u00a0% interval {points(low)} to {points(high)}"
    return f" ({points(found['metric_difference'])} points{ends})"


def _tested(arm: pd.Series, plan: Plan) -> str:
    """The images of an accuracy, and how independent they are."""
    words = counted(arm["images"], f"{plan.judged[1]} image")
    if not math.isnan(arm["sources"]):
        words += f" of {counted(int(arm['sources']), 'source')}"
    if arm["shared"] > 0:
        words += f", {share_of(arm['shared'] / arm['images'], arm['images'])} of them with a duplicate in training"
    return words + (f", mean of {_trainings(arm, plan)}" if arm["runs"] > 1 else "")


def _trainings(arm: pd.Series, plan: Plan) -> str:
    """The number of trainings of each arm; for the split by_source, of each fold."""
    return f"{counted(arm['runs'], 'training')}{' for each fold' if plan.judged[0] == 'by_source' else ''}"


def _certainty(found: pd.Series) -> str:
    """The p-value in words."""
    if found["metric_reason"]:
        return f"There is no interval of the difference: {why_none(found.to_frame().T, 'metric_')}."
    return (
        f"If both were equally good, chance alone would give a difference in {_metric(found)} at least this large "
        f"{chance(found['p_metric_holm'])}."
    )


def _published(verdict: str, comparison: pd.DataFrame, plan: Plan) -> str:
    """What the study reported, and what this project found about its images; empty for other variants or classes."""
    theirs = [find_arm(comparison, "paper", "validation", name) for name in ("original", str(plan.enhanced))]
    original, asked = (math.nan if one is None else one["study_accuracy"] for one in theirs)
    if math.isnan(asked - original):
        return ""
    images, shared_images = published.VALIDATION_IMAGES, published.VALIDATION_SHARED
    agrees = {"higher": asked > original, "lower": asked < original}.get(verdict)
    right, other = round(original * images), round(asked * images)
    effects = [design_effect(published.VALIDATION_IMAGES_PER_SOURCE, correlation) for correlation in (0, *CORRELATIONS)]
    alone, low, high = (chance(p_unpaired(right, other, images, effect)) for effect in effects)
    words = {None: "neither confirms nor contradicts", True: "agrees with", False: "contradicts"}[agrees]
    return (
        f"The study reported an accuracy of {percent(asked)} with super-resolution and {percent(original)} on original "
        f"images: {gap(asked - original)}. Its {images:,} validation images come from {published.VALIDATION_SOURCES} "
        f"photographs, and {'each' if shared_images == images else f'{shared_images:,}'} has a duplicate in training. "
        f"If the images were independent and both variants equally good, chance would give a difference at least this "
        f"large {alone}; with a correlation of {' or '.join(map(str, CORRELATIONS))} between images of one photograph, "
        f"{low} or {high}. This run {words} the direction of that difference."
    )


def _controls(controls: pd.DataFrame) -> list[str]:
    """The first control that failed, and what follows from it; empty if there is none."""
    failed = [row for _, row in controls.iterrows() if row["step"] in CONTROL_FAILED and row["finding"] != "higher"]
    return [
        f"A control failed: {CONTROL_FAILED[row['step']].format(**row[['variant', 'against']].map(variant_label))}"
        f"{_with_interval(row)}. A missing effect can therefore not be attributed to super-resolution itself."
        for row in failed[:1]
    ]


def _cautions(
    original: pd.Series,
    asked: pd.Series | None,
    found: pd.Series | None,
    leakage: pd.DataFrame,
    plan: Plan,
    config: Config,
) -> list[str]:
    """What cannot be concluded from these numbers."""
    if original["runs"] == 1:
        noise = f"Each accuracy comes from {_trainings(original, plan)}; the effect of another seed is not known."
    else:
        spread = f"{100 * original['accuracy_sd']:.1f} points"
        if asked is not None:
            spread += f" on original and {100 * asked['accuracy_sd']:.1f} on {variant_label(asked['tested_on'])} images"
        noise = (
            f"Each accuracy is the mean of {_trainings(original, plan)} with different seeds; the standard deviation "
            f"is {spread}. Intervals of differences include the variation between trainings; those of accuracies do "
            "not."
        )
    half = math.nan if found is None else (found["metric_high"] - found["metric_low"]) / 2
    wide = (
        f"The 95\u00a0% interval extends {100 * half:.0f} points to each side of the difference; a difference of that "
        "size may exist and remain undetected."
    )
    return [
        noise,
        "Each training kept the epoch with the best validation accuracy, and accuracies on validation images are "
        "therefore too optimistic; the answer uses the test images.",
        _sources(original, plan, config),
        *_thin_classes(leakage, plan),
        *([wide] if half > WIDE else []),
    ]


def _sources(original: pd.Series, plan: Plan, config: Config) -> str:
    if math.isnan(original["sources"]):
        return (
            "The sources of the images are not known; each image counts as a separate source. If training and "
            "test images come from one slide or patient, accuracy on new patients is lower and the intervals are too "
            "narrow. The section sources of the configuration says which images belong together."
        )
    split, subset = plan.judged
    if original["shared"]:
        return (
            f"{int(original['shared']):,} of the {original['images']:,} {subset} images of the split {split} have a "
            "duplicate in training. They show how well duplicates of known cells are recognised, not cells of new "
            "patients. The split by_source has no such images."
        )
    if config["sources"]["method"] in ("pattern", "table", "groups", "each"):
        return "Images count as independent if the section sources of the configuration gives them different sources."
    source = "all images that show the same cells" if config["sources"]["method"] == "images" else "a photograph"
    return (
        f"A source is {source}. Several sources may come from one patient or slide; the data does not say. Accuracy on "
        "new patients may therefore be lower."
    )


def _thin_classes(leakage: pd.DataFrame, plan: Plan) -> list[str]:
    """What cannot be shown for classes with few sources, in one sentence for all of them."""
    counts = leakage.loc[plan.judged].loc[plan.classes].rename(index=plan.labels)
    absent = list(counts.index[counts["images"] == 0])
    found = [f"There is no test image of {listed(absent)}."] if absent else []
    # All correct: the exact interval of Clopper and Pearson (Biometrika 26, 1934) begins at (α/2)^(1/n).
    parts = [
        f"{listed(list(rows.index))} ({counted(int(n), 'source')}{' each' if len(rows) > 1 else ''}: "
        f"{100 * ((1 - CONFIDENCE) / 2) ** (1 / n):.0f}\u00a0%)"
        for n, rows in counts[counts["sources"].between(1, LEAST_SOURCES - 1)].groupby("sources", sort=False)
    ]
    if parts:
        found.append(
            f"Recall could be as low as the percentage given here even if every test image were classified correctly, "
            f"and differences in recall have no interval: {listed(parts)}."
        )
    return found
