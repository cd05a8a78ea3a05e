"""The words of the report: every sentence about a result is chosen by its numbers.

Accuracies, intervals and differences are shares (0 to 1); texts show them as percentages and percentage points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pandas as pd

from wbcsr.config import Config, parse_training
from wbcsr.evaluate import class_labels, study, variant_label
from wbcsr.evaluate.cost import estimated, used_devices
from wbcsr.evaluate.scores import Plan
from wbcsr.evaluate.statistics import CONFIDENCE, LEAST_SOURCES
from wbcsr.report.method import duration

# Where half of the 95 % interval of the difference is wider than this, the page says what goes unseen.
WIDE = 0.03
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True)
class Result:
    """A row of comparison.csv: trained on one variant (or `dual`), tested on another.

    `accuracy` is the mean over `runs` trainings, `spread` their standard deviation (NaN for one training), `low` and
    `high` the ends of its 95 % interval (NaN where there can be none), `study` the study's accuracy (NaN where it has
    none). `sources` and `shared` are NaN where no source is known.
    """

    tested_on: str
    images: int
    sources: float
    shared: float
    runs: int
    accuracy: float
    spread: float
    low: float
    high: float
    study: float


@dataclass(frozen=True)
class Difference:
    """A row of differences.csv: one accuracy minus another, with the ends of its 95 % interval, or why it has none."""

    value: float
    low: float
    high: float
    p_sources: float
    p_holm: float
    reason: str

    @property
    def side(self) -> str:
        """Where the interval lies: `above` or `below` zero, `around` it, or `nowhere` if there is none."""
        if math.isnan(self.low):
            return "nowhere"
        if self.low > 0:
            return "above"
        return "below" if self.high < 0 else "around"

    @property
    def verdict(self) -> str:
        """Of the one comparison that was asked for beforehand; see `_judge`."""
        return self._judge(self.p_sources)

    @property
    def corrected(self) -> str:
        """Of one comparison among all of its table; see `_judge`."""
        return self._judge(self.p_holm)

    def _judge(self, p_value: float) -> str:
        """`higher` or `lower` where interval and test agree on it, else `unclear`.

        Without an interval `alike` where the arms differ on hardly any source, else `unknown`.
        """
        if self.side == "nowhere":
            return "alike" if self.reason.startswith("the arms differ") else "unknown"
        if p_value >= 1 - CONFIDENCE:
            return "unclear"
        return {"above": "higher", "below": "lower", "around": "unclear"}[self.side]


def find_result(
    comparison: pd.DataFrame, split: str, trained_on: str, tested_on: str, subset: str = "validation"
) -> Result | None:
    """The row of comparison.csv with these four names, or None."""
    rows = _rows(comparison, split=split, trained_on=trained_on, tested_on=tested_on, subset=subset)
    if rows.empty:
        return None
    row = rows.iloc[0]
    return Result(
        tested_on=tested_on,
        images=int(row["images"]),
        sources=float(row["sources"]),
        shared=float(row["shared"]),
        runs=int(row["runs"]),
        accuracy=float(row["accuracy"]),
        spread=float(row["accuracy_sd"]),
        low=float(row["accuracy_low"]),
        high=float(row["accuracy_high"]),
        study=float(row["study_accuracy"]),
    )


def find_difference(
    differences: pd.DataFrame, split: str, subset: str, arm: tuple[str, str], against: tuple[str, str]
) -> Difference | None:
    """The row of differences.csv between two arms, each named by what it was trained and tested on, or None."""
    rows = _rows(
        differences,
        split=split,
        subset=subset,
        trained_on=arm[0],
        tested_on=arm[1],
        against_trained_on=against[0],
        against_tested_on=against[1],
    )
    if rows.empty:
        return None
    row = rows.iloc[0]
    return Difference(
        value=float(row["difference"]),
        low=float(row["low"]),
        high=float(row["high"]),
        p_sources=float(row["p_sources"]),
        p_holm=float(row["p_holm"]),
        reason=str(row["reason"]),
    )


def _rows(table: pd.DataFrame, **cells: str) -> pd.DataFrame:
    """The rows that have these texts in these columns."""
    return table[(table[list(cells)] == pd.Series(cells)).all(axis=1)]


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


def answer(results: dict[str, pd.DataFrame], config: Config) -> dict[str, Any]:
    """The answer in words: `verdict`, `lead` (it and its interval), `headline` (accuracies), `details` and `cautions`.

    A verdict is higher, lower, unclear, nothing learned, unknown (too few sources), or not asked. `results` are the
    tables of `wbcsr.report.tables.read_tables`. The answer is that of the images that `Plan.judged` names.
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
            "lead": "Not asked: the configuration names no enlarged variant.",
            "headline": f"On the original images ResNet-50 was right on {percent(original.accuracy)} of "
            f"{_tested_images(original, asked_of, plan)}.",
            "details": list(filter(None, [_paper(comparison, None, plan)])),
            "cautions": _cautions(original, None, None, results, plan, config),
        }
    images = results["leakage"].loc[asked_of, "images"]
    # Who always names the largest class is right as often as that.
    guessing = float(images.drop("").max() / images[""])
    learned = not max(original.low, asked.low) <= guessing
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
        "alike": f"No clear difference between the original images and {label}: {found.reason.split(';')[0]}",
        "higher": f"Yes, here: more images were classified correctly after {label}",
        "lower": f"No, on the contrary: fewer images were classified correctly after {label}",
        "unclear": f"No clear difference between the original images and {label}",
        "nothing learned": "No answer: on neither kind of images is the classifier clearly better than guessing",
        "unknown": f"No answer: too few independent sources tell the original images and {label} apart",
    }[verdict]
    once = ", of one training" if original.runs == 1 and verdict in ("higher", "lower") else ""
    told += f" ({_with_interval(found)}{once})"
    if verdict == "higher" and enhanced.startswith("realesrgan") and not beats_controls:
        told += ", but not clearly more than after plain interpolation"
    if not enhanced.startswith("realesrgan"):
        told += "; of super-resolution nothing is said, for the configuration has none"
    return f"{told}."


def _with_interval(found: Difference) -> str:
    ends = "" if math.isnan(found.low) else f", 95\u00a0% interval {points(found.low)} to {points(found.high)}"
    return f"{points(found.value)} points{ends}"


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


def _gap(value: float) -> str:
    size = abs(round(100 * value, 1))
    if size == 0:
        return "the same to a tenth of a point"
    return f"{size:.1f} {'point' if size == 1 else 'points'} {'more' if value > 0 else 'fewer'}"


def _headline(asked: Result, original: Result, asked_of: tuple[str, str], plan: Plan) -> str:
    return (
        f"Trained and tested on images enlarged by {variant_label(asked.tested_on)}, ResNet-50 was right on "
        f"{percent(asked.accuracy)} of {_tested_images(asked, asked_of, plan)}; on the original images on "
        f"{percent(original.accuracy)}: {_gap(asked.accuracy - original.accuracy)}."
    )


def _certainty(found: Difference, asked: Result) -> str:
    ends = f"{points(found.low)} to {points(found.high)} points"
    side = {
        "above": f"The 95\u00a0% interval of the difference, {ends}, lies above zero",
        "below": f"The 95\u00a0% interval of the difference, {ends}, lies below zero",
        "around": f"The 95\u00a0% interval of the difference, {ends}, includes zero",
        "nowhere": f"There is no interval of the difference: {found.reason}",
    }[found.side]
    if found.side in ("above", "below") and found.verdict == "unclear":
        side += ", but the test does not bear it out"
    units = "images, whose sources are not known," if math.isnan(asked.sources) else "sources"
    return (
        f"{side}. Were these classifiers equally often right, {units} exchanged at random between the two would give "
        f"a difference as large with p\u00a0{probability(found.p_sources)} ({probability(found.p_holm)} corrected for "
        "all comparisons of the table)."
    )


def probability(value: float) -> str:
    """A p-value after the letter: `= 0.031`, `< 0.001`."""
    return "<\u00a00.001" if value < 0.001 else f"=\u00a0{value:.3f}"


def _paper(comparison: pd.DataFrame, enhanced: str | None, plan: Plan) -> str | None:
    """What the study would have reported of this run, and what stands behind it."""
    if "paper" not in plan.splits:
        return None
    original = _own(comparison, ("paper", "validation"), "original")
    asked = _own(comparison, ("paper", "validation"), enhanced) if enhanced else None
    if original is None:
        return None
    told = f"{percent(original.accuracy)} on original images"
    told = f"{percent(asked.accuracy)} on enlarged and {told}" if asked else told
    scored = f"Scored as in the study, on {original.images:,} validation images of its split, it was {told}"
    if math.isnan(original.sources):
        return f"{scored}."
    return f"{scored}; but these come of {int(original.sources):,} sources, and {shared(original)}."


def shared(result: Result) -> str:
    """How many of the images have a copy in training, as a clause."""
    if result.shared == 0:
        return "none is known to have a copy of its source in training"
    if result.shared == result.images:
        return "every one has a copy of its source in training"
    return (
        f"{int(result.shared):,} of them ({percent(result.shared / result.images)}) have a copy of theirs in training"
    )


def _study(found: Difference, comparison: pd.DataFrame, plan: Plan, config: Config) -> str | None:
    original = _own(comparison, ("paper", "validation"), "original")
    asked = _own(comparison, ("paper", "validation"), str(plan.enhanced))
    if original is None or asked is None or math.isnan(asked.study) or math.isnan(original.study):
        return None
    published = asked.study - original.study
    told = (
        f"The study found {percent(asked.study)} on enlarged and {percent(original.study)} on original images: "
        f"{_gap(published)}."
    )
    if is_drawn(config):
        return f"{told} Those were real cells, so the numbers cannot be compared."
    told += (
        f" Its {study.VALIDATION_IMAGES:,} validation images come of {study.VALIDATION_SOURCES} photographs, and "
        f"{'every one' if study.VALIDATION_SHARED == study.VALIDATION_IMAGES else f'{study.VALIDATION_SHARED:,}'} has "
        "a copy of its photograph in training."
    )
    if found.verdict not in ("higher", "lower"):
        return f"{told} This run neither confirms nor contradicts its difference."
    same = (found.value > 0) == (published > 0)
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
        "unclear": f"{label} does not differ clearly from that",
        "alike": f"{label} hardly differs from that",
        "unknown": f"whether {label} differs from that cannot be told",
    }[found.corrected]
    right = f"Enlarged by {variant_label(control)}, {percent(own.accuracy)} were right"
    return f"{right}; {compared} ({_with_interval(found)})."


def _cross(results: dict[str, pd.DataFrame], asked_of: tuple[str, str], enhanced: str) -> str | None:
    """What happens where a classifier that was trained on original images is given enlarged ones."""
    found = _between(results, asked_of, ("original", enhanced), ("original", "original"))
    if found is None:
        return None
    return (
        f"A classifier that was trained on original images and is given images enlarged by {variant_label(enhanced)} "
        f"{_than(found)} it is on original ones ({_with_interval(found)})."
    )


def _dual(results: dict[str, pd.DataFrame], asked_of: tuple[str, str], enhanced: str) -> str | None:
    told = []
    for variant, kind in (("original", "original"), (enhanced, "enlarged")):
        found = _between(results, asked_of, ("dual", variant), (variant, variant))
        if found is not None:
            told.append(f"on {kind} images it {_than(found)} after training on them alone ({_with_interval(found)})")
    if not told:
        return None
    return f"Trained on both together, {listed(told)}. That training saw twice as many images in each epoch."


def _size(results: dict[str, pd.DataFrame], asked_of: tuple[str, str], training: str, plan: Plan) -> str | None:
    """Whether a larger input lets the classifier see what was enlarged."""
    name, size = parse_training(training)
    if size is None or name != plan.enhanced:
        return None
    found = _between(results, asked_of, (training, name), (f"original_{size}px", "original"))
    if found is None:
        return None
    return (
        f"At {size} pixels a side, a classifier of images enlarged by {variant_label(name)} {_than(found)} one of "
        f"original images ({_with_interval(found)})."
    )


def _than(found: Difference) -> str:
    return {
        "higher": "is right more often than",
        "lower": "is right less often than",
        "unclear": "is not clearly more or less often right than",
        "alike": "is hardly ever more or less often right than",
        "unknown": "cannot be said to be right more or less often than",
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
        which = f"{100 * original.spread:.1f} points"
        if asked:
            which += f" on original and {100 * asked.spread:.1f} on enlarged images"
        cautions.append(
            f"Each accuracy is the mean of {_trainings(original, plan)} that differ in their seed; their "
            f"standard deviation is {which}. The intervals are of these trainings: that others would come out "
            "differently is in none of them."
        )
    cautions.append(
        "Of each training the epoch that did best on the validation images was kept, which flatters the accuracies "
        "on them; the answer is that of test images."
    )
    cautions.append(_sources(original, plan, config))
    cautions += _thin_classes(results["leakage"], plan)
    half = (found.high - found.low) / 2 if found else math.nan
    if half > WIDE:
        cautions.append(
            f"The difference is known to about ±{100 * half:.0f} points here, so one much smaller than that would go "
            "unseen."
        )
    return cautions


def _sources(original: Result, plan: Plan, config: Config) -> str:
    if math.isnan(original.sources):
        return (
            "The sources of the images are not known, so each counts as one of its own. Where images of one slide or "
            "patient stand on both sides of the split, new patients would be classified less well, and the intervals "
            "are too narrow. The configuration's section `sources` tells the workflow what belongs together."
        )
    split, subset = plan.judged
    if original.shared:
        return (
            f"Of the {subset} images of the split {split}, {shared(original)}: such images tell how well copies of "
            "known cells are recognised, not the cells of a new patient. The split by_source has none."
        )
    if config["sources"]["method"] in ("pattern", "table"):
        return "Images count as independent where the configuration's section `sources` gives them different sources."
    return (
        "A source is a photograph; several may be of one patient or one slide, which nothing in the data tells. New "
        "patients may be classified less well."
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
                f"{labels[name]} is tested by {counted(sources, 'source')}: were all of them right, its recall could "
                f"still be as low as {least:.0f}\u00a0%, and {cannot}."
            )
    return told


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
    also = "".join(f", in some arms to {size} × {size}" for size in train["more_input_sizes"])
    found = []
    if is_drawn(config):
        found.append(
            "The cells are drawn by a program. They show that the workflow runs from end to end; "
            "nothing about real cells follows from them."
        )
    if enhanced:
        found.append(
            f"Every image is resized to {side} × {side} pixels for the classifier{also}, enlarged ones too. So images "
            "of one size are compared that were resampled in different ways; detail finer than that reaches no "
            "classifier."
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
