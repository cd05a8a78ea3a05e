"""Macro recall, macro F1 and the recall of each class, with intervals over sources.

The unit is the source, which is a photograph in the study: all sources of a class have the same weight, whatever their
number of duplicates. In the study's archive, a monocyte photograph has ten times as many duplicates as a neutrophil
photograph, so 18 photographs determine a quarter of the accuracy over images.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from wbcsr.stats.intervals import Estimate, accuracy_interval, macro_weights, mean_interval
from wbcsr.stats.predictions import Arm

TEXTS = ["split", "subset", "trained_on", "tested_on", "measure", "of", "reason"]
NUMBERS = ["images", "sources", "effective_sources", "runs", "value", "low", "high"]


def endpoints(arms: list[Arm]) -> pd.DataFrame:
    """A row for each arm and measure: `macro recall`, `macro F1`, and the `recall` of each class, which `of` names.

    The columns are `TEXTS` and `NUMBERS`. `value` is the mean over the seeds; `low` and `high` are the ends of its 95 %
    interval over sources. They are NaN if there is no interval, and `reason` says why. As in `accuracy_interval`, an
    interval does not include the variation between trainings.
    """
    rows = []
    for arm in arms:
        names = (arm.split, arm.subset, arm.trained_on, arm.tested_on)
        for measure, name, found in _measured(arm):
            sources = found.sources if arm.has_sources else np.nan
            numbers = (found.images, sources, found.effective_sources, len(arm.correct))
            ends = (found.value, found.low, found.high)
            rows.append([*names, measure, name, found.reason, *numbers, *ends])
    return pd.DataFrame(rows, columns=[*TEXTS, *NUMBERS]).astype({"sources": "Int64"})


def _measured(arm: Arm) -> list[tuple[str, str, Estimate]]:
    rows = arm.independent
    sources, classes = rows["source"].to_numpy(str), rows["class"].to_numpy(str)
    weights = macro_weights(sources, classes)
    source_weights = 1 / pd.Series(sources).groupby(sources).transform("size").to_numpy()
    predicted = np.array([names[rows.index] for names in arm.predicted.values()])
    found = [
        ("macro recall", "", accuracy_interval(arm.correct, sources, classes, weights=weights)),
        ("macro F1", "", f1_interval(predicted, sources, classes, np.unique(classes), source_weights)),
    ]
    for name in arm.classes:
        of = classes == name
        if of.any():
            recall = accuracy_interval(arm.correct[:, of], sources[of], classes[of], weights=weights[of])
            found.append(("recall", name, recall))
    return found


def f1_interval(
    predicted: npt.NDArray[np.object_],
    sources: npt.NDArray[np.str_],
    classes: npt.NDArray[np.str_],
    names: Sequence[str] | npt.NDArray[np.str_],
    weights: npt.NDArray[np.float64],
) -> Estimate:
    """The F1 score, averaged over the classes `names` and over the seeds, with its interval over sources.

    `predicted` has the shape (seeds, images); `sources`, `classes` and `weights` have the shape (images,). Each of
    `names` needs an image. The variance is that of the score's linearisation, (2·[correct] − F1·([in the class] +
    [predicted as it])) divided by the sum of the last two (Binder, Int. Stat. Rev. 51, 1983, 279–292), so the interval
    is computed as for an accuracy.
    """
    values = np.zeros(len(classes))
    for seed in predicted:
        for name in names:
            actual, taken = classes == name, seed == name
            marked = actual.astype(float) + taken
            total = float(weights @ marked)
            f1 = 2 * float(weights @ (actual & taken)) / total
            linear = (2 * (actual & taken) - f1 * marked) / total * weights.sum()
            values += (f1 + linear) / (len(names) * len(predicted))
    return mean_interval(values, sources, classes, weights=weights)


def class_scores(arm: Arm) -> dict[str, dict[str, Estimate]]:
    """Accuracy, recall and F1 of each class that has images, with intervals; every image counts the same.

    The measures are named as in `wbcsr.stats.scores.Scores.by_class`, which defines them. Values are means over the
    seeds, on the `independent` rows of the arm.
    """
    rows = arm.independent
    sources, classes = rows["source"].to_numpy(str), rows["class"].to_numpy(str)
    predicted = np.array([names[rows.index] for names in arm.predicted.values()])
    found: dict[str, dict[str, Estimate]] = {"accuracy": {}, "recall": {}, "f1": {}}
    for name in arm.classes:
        of = classes == name
        if of.any():
            found["accuracy"][name] = accuracy_interval((predicted == name) == of, sources, classes)
            found["recall"][name] = accuracy_interval(arm.correct[:, of], sources[of], classes[of])
            found["f1"][name] = f1_interval(predicted, sources, classes, [name], np.ones(len(classes)))
    return found
