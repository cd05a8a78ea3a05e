"""Quality of the predicted probabilities: their calibration, and how well they rank the images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_curve

from wbcsr.stats.intervals import Names
from wbcsr.stats.predictions import Arm, check_probabilities

# The false positive rates or recalls at which mean curves are computed.
GRID = np.linspace(0, 1, 1001)


@dataclass(frozen=True)
class Calibration:
    """The calibration of one set of predictions.

    `error` is the expected calibration error (0 to 1). `table` has a row for each bin, with the columns low, high,
    images, confidence and accuracy; the last two are means, NaN for a bin without images.
    """

    error: float
    table: pd.DataFrame


@dataclass(frozen=True)
class Curves:
    """The curves of one class against the rest.

    `roc` has the columns threshold, false_positive_rate and true_positive_rate; `precision_recall` has the columns
    recall and precision; `area` is the area under the ROC curve.
    """

    roc: pd.DataFrame
    precision_recall: pd.DataFrame
    area: float
    average_precision: float


@dataclass(frozen=True)
class Probabilities:
    """The probabilities that one arm predicted for the images of one subset; all folds of its split are pooled.

    `actual` is the class of each image (images,). `by_run` holds each run's probabilities (images, classes), in the
    order of `classes`. All images have the same weight, and so do all runs.
    """

    split: str
    trained_on: str
    tested_on: str
    subset: str
    classes: list[str]
    actual: npt.NDArray[np.str_]
    by_run: dict[str, npt.NDArray[np.float64]]

    @classmethod
    def of(cls, arm: Arm) -> Probabilities:
        """The probabilities of an arm."""
        actual = arm.rows["class"].to_numpy(dtype=str)
        return cls(arm.split, arm.trained_on, arm.tested_on, arm.subset, arm.classes, actual, arm.probabilities)

    @property
    def confidence(self) -> float:
        """The largest probability of an image; mean over images and runs."""
        return float(np.mean([probabilities.max(axis=1).mean() for probabilities in self.by_run.values()]))

    @property
    def accuracy(self) -> float:
        """The share of images whose actual class has the largest probability; mean over the seeds."""
        numbers = pd.Index(self.classes).get_indexer(pd.Index(self.actual))
        return float(np.mean([(one.argmax(axis=1) == numbers).mean() for one in self.by_run.values()]))

    @property
    def brier(self) -> float:
        """The Brier score, Σ (probability − truth)² over the classes, 0 to 2 (Brier, Mon. Weather Rev. 78, 1950).

        Truth is 1 for the actual class and 0 for the others; mean over images and runs.
        """
        truth = self.actual[:, None] == np.array(self.classes)
        return float(np.mean([((one - truth) ** 2).sum(axis=1).mean() for one in self.by_run.values()]))

    @property
    def log_loss(self) -> float:
        """The cross-entropy, −ln(probability of the actual class); mean over images and runs.

        A probability below the precision of numbers (2⁻⁵²) counts as this precision, as in scikit-learn.
        """
        truth = self.actual[:, None] == np.array(self.classes)
        least = np.finfo(float).eps
        return float(np.mean([-np.log(one[truth].clip(least)).mean() for one in self.by_run.values()]))

    @cached_property
    def calibration_error(self) -> float:
        """The expected calibration error (see `calibration`); mean over the runs."""
        return float(np.mean([calibration(one, self.actual, self.classes).error for one in self.by_run.values()]))

    @cached_property
    def pooled(self) -> Calibration:
        """The calibration of all seeds' predictions together, in common bins.

        Its error differs from `calibration_error`: the errors of an overconfident and an underconfident seed cancel
        here.
        """
        together = np.concatenate(list(self.by_run.values()))
        return calibration(together, np.tile(self.actual, len(self.by_run)), self.classes)

    @cached_property
    def curves(self) -> dict[str, list[Curves]]:
        """The ROC and precision–recall curves of each seed, for each class that some, but not all, of the images have.

        Each fold has its own classifier, and equal probabilities of two classifiers may mean different things. The area
        under a curve of pooled folds therefore tends to be smaller than the areas within the folds (Forman and Scholz,
        SIGKDD Explorations 12, 2010).
        """
        by_seed = [curves(one, self.actual, self.classes) for one in self.by_run.values()]
        return {name: [found[name] for found in by_seed] for name in by_seed[0]}

    @cached_property
    def areas(self) -> pd.DataFrame:
        """The columns auc and average_precision, a row for each class: means over the seeds, NaN without a curve."""
        areas = pd.DataFrame(np.nan, index=self.classes, columns=["auc", "average_precision"])
        for name, found in self.curves.items():
            areas.loc[name] = np.mean([(curve.area, curve.average_precision) for curve in found], axis=0)
        return areas


def matched_arms(groups: Iterable[Probabilities], split: str, subset: str = "test") -> list[Probabilities]:
    """The arms of a split and subset that were tested on the variant they were trained on; the order is kept."""
    return [one for one in groups if (one.split, one.subset) == (split, subset) and one.trained_on == one.tested_on]


def calibrations(groups: Iterable[Probabilities]) -> pd.DataFrame:
    """The calibration and ranking of each arm's probabilities: a row for each of `groups`, with means over its seeds.

    The columns are: split, trained_on, tested_on, subset, images; ece (expected calibration error, 15 bins), brier,
    log_loss, confidence and accuracy; auc and average_precision (macro: means over the classes that have a curve); and,
    for each class against the rest, auc_<class> and ap_<class>, NaN if the class has no curve.
    """
    return pd.DataFrame(
        {
            "split": group.split,
            "trained_on": group.trained_on,
            "tested_on": group.tested_on,
            "subset": group.subset,
            "images": len(group.actual),
            "ece": group.calibration_error,
            "brier": group.brier,
            "log_loss": group.log_loss,
            "confidence": group.confidence,
            "accuracy": group.accuracy,
            **group.areas.mean(),
            **group.areas["auc"].add_prefix("auc_"),
            **group.areas["average_precision"].add_prefix("ap_"),
        }
        for group in groups
    )


def mean_roc(curves: Sequence[Curves]) -> npt.NDArray[np.float64]:
    """The mean true positive rate at each false positive rate of `GRID`.

    The area under this curve is the mean of the areas (vertical averaging; Fawcett, Pattern Recogn. Lett. 27, 2006).
    """
    rates = [curve.roc[["false_positive_rate", "true_positive_rate"]].to_numpy().T for curve in curves]
    # Where a curve is vertical, np.interp gives its upper end.
    return np.mean([np.interp(GRID, false, true) for false, true in rates], axis=0)


def mean_precision(curves: Sequence[Curves]) -> npt.NDArray[np.float64]:
    """The mean precision at each recall of `GRID` except 0, at which precision is not defined.

    The precision at a recall is that of the highest threshold that reaches it. The area is then the mean average
    precision.
    """
    points = [curve.precision_recall[["recall", "precision"]].to_numpy()[::-1].T for curve in curves]
    return np.mean([precision[np.searchsorted(recall, GRID[1:])] for recall, precision in points], axis=0)


def calibration(
    probabilities: npt.NDArray[np.float64], actual: Names, classes: Sequence[str], bins: int = 15
) -> Calibration:
    """The difference between confidence and accuracy of one run: its expected calibration error and the bins behind it.

    `probabilities` has the shape (images, classes), with the classes in the order of `classes`; `actual` has the shape
    (images,). An image's predicted class is the one with the largest probability, and its confidence is that
    probability. The bins have equal width and include their upper ends. The error is Σ (images in bin)/images ·
    |accuracy − confidence| (Naeini et al., AAAI 2015; Guo et al., ICML 2017). Chance alone makes it larger than 0, and
    fewer images make it larger. Raises ValueError as `curves` does.
    """
    right = _labels(probabilities, actual, classes) == probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1)
    edges = np.linspace(0, 1, bins + 1)
    # A probability may be slightly above 1 because of rounding.
    bin_of = np.minimum(np.searchsorted(edges, confidence) - 1, bins - 1)
    table = (
        pd.DataFrame({"images": 1, "confidence": confidence, "accuracy": right})
        .groupby(bin_of)
        .agg({"images": "sum", "confidence": "mean", "accuracy": "mean"})
        .reindex(range(bins))
        .fillna({"images": 0})
        .astype({"images": int})
    )
    table.insert(0, "low", edges[:-1])
    table.insert(1, "high", edges[1:])
    gaps = table["images"] * (table["accuracy"] - table["confidence"]).abs()
    return Calibration(float(gaps.sum() / len(right)), table)


def curves(probabilities: npt.NDArray[np.float64], actual: Names, classes: Sequence[str]) -> dict[str, Curves]:
    """ROC and precision–recall curves of each class against the rest, by scikit-learn; arguments as in `calibration`.

    A class that no image or every image has is left out, because it has no curves. Raises ValueError if shapes differ,
    if a row of probabilities is invalid, or if an actual class is unknown.
    """
    labels = _labels(probabilities, actual, classes)
    found = {}
    for number, name in enumerate(classes):
        positive = labels == number
        if positive.all() or not positive.any():
            continue
        scores = probabilities[:, number]
        false_positives, true_positives, thresholds = roc_curve(positive, scores)
        precision, recall, _ = precision_recall_curve(positive, scores)
        found[name] = Curves(
            roc=pd.DataFrame(
                {
                    "threshold": thresholds,
                    "false_positive_rate": false_positives,
                    "true_positive_rate": true_positives,
                }
            ),
            precision_recall=pd.DataFrame({"recall": recall, "precision": precision}),
            area=float(auc(false_positives, true_positives)),
            average_precision=float(average_precision_score(positive, scores)),
        )
    return found


def _labels(probabilities: npt.NDArray[np.float64], actual: Names, classes: Sequence[str]) -> npt.NDArray[np.intp]:
    """The index of each image's actual class in `classes` (images,)."""
    if probabilities.shape != (len(actual), len(classes)) or not probabilities.size:
        raise ValueError(f"{len(actual)} images of {len(classes)} classes have probabilities {probabilities.shape}")
    check_probabilities(probabilities)
    labels = pd.Index(classes).get_indexer(pd.Index(actual))
    if (labels < 0).any():
        raise ValueError(f"the class '{np.asarray(actual)[labels < 0][0]}' is not among the classes")
    return labels
