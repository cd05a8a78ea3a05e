"""What the predicted probabilities say beyond the predicted class: are they honest, and do they rank the images?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from wbcsr.errors import InputError
from wbcsr.evaluate import SUBSETS
from wbcsr.evaluate.scores import Plan, Run, run_of
from wbcsr.evaluate.statistics import Calibration, Curves, calibration, curves
from wbcsr.files import read_csv

# Where mean curves are known: false positive rates or recalls.
GRID = np.linspace(0, 1, 1001)

_AGAIN = "delete it and predict again"


@dataclass(frozen=True)
class Probabilities:
    """An arm's probabilities of the images of one subset, all folds of its split together.

    `actual` are the images' classes (images,), `by_seed` each seed's probabilities (images, classes) in the order of
    `classes`. Every image counts once a seed, and every seed as much as another.
    """

    split: str
    trained_on: str
    tested_on: str
    subset: str
    classes: list[str]
    actual: npt.NDArray[np.str_]
    by_seed: dict[int, npt.NDArray[np.float64]]

    @property
    def confidence(self) -> float:
        """The mean over images and seeds of the largest probability."""
        return float(np.mean([probabilities.max(axis=1).mean() for probabilities in self.by_seed.values()]))

    @property
    def accuracy(self) -> float:
        """The share of images whose largest probability is that of their class, mean over the seeds."""
        numbers = pd.Index(self.classes).get_indexer(pd.Index(self.actual))
        return float(np.mean([(one.argmax(axis=1) == numbers).mean() for one in self.by_seed.values()]))

    @cached_property
    def calibration_error(self) -> float:
        """The mean over the seeds of the expected calibration error; see `statistics.calibration`."""
        return float(np.mean([calibration(one, self.actual, self.classes).error for one in self.by_seed.values()]))

    @cached_property
    def pooled(self) -> Calibration:
        """Confidence and accuracy of all seeds' predictions in common bins.

        Its error is not `calibration_error`: where one seed is too sure and another too cautious, theirs cancel.
        """
        together = np.concatenate(list(self.by_seed.values()))
        return calibration(together, np.tile(self.actual, len(self.by_seed)), self.classes)

    @cached_property
    def curves(self) -> dict[str, list[Curves]]:
        """ROC and precision–recall of each seed, for each class that some of the images have and others have not.

        Folds are classifiers of their own, to which one probability need not mean the same: areas of pooled folds tend
        to be smaller than those within folds (Forman and Scholz, SIGKDD Explorations 12, 2010).
        """
        by_seed = [curves(one, self.actual, self.classes) for one in self.by_seed.values()]
        return {name: [found[name] for found in by_seed] for name in by_seed[0]}

    @cached_property
    def areas(self) -> pd.DataFrame:
        """The columns auc and average_precision, a row for each class: means over the seeds, NaN without a curve."""
        areas = pd.DataFrame(np.nan, index=self.classes, columns=["auc", "average_precision"])
        for name, found in self.curves.items():
            areas.loc[name] = np.mean([(curve.area, curve.average_precision) for curve in found], axis=0)
        return areas


def base_split(name: str) -> str:
    """The split that a fold belongs to: `by_source_fold2` → `by_source`; a split without folds is its own."""
    return re.sub(r"_fold\d+$", "", name)


def read_probabilities(
    predictions: Iterable[str | Path], splits: Iterable[str | Path], plan: Plan
) -> list[Probabilities]:
    """Read the runs' probabilities by arm, in the order of the plan; images in order of name.

    `splits` are the files `<split>.csv` of columns image and subset, one for each fold. InputError where a file does
    not belong to the plan, where a run lacks an image of a subset, where an image comes twice or its seeds do not
    agree on it, and where something is no probability.
    """
    subset_of = {Path(path).stem: read_csv(path, ["image", "subset"]) for path in splits}
    found: dict[tuple[str, str, str, str], dict[int, list[pd.DataFrame]]] = {}
    for run in sorted(map(run_of, predictions), key=lambda run: _place(run, plan)):
        if run.split not in subset_of:
            raise InputError(f"{run.path}: the file of its split is not given; take all that the configuration names")
        table = _read_run(run, plan)
        for subset in SUBSETS:
            by_seed = found.setdefault((base_split(run.split), run.trained_on, run.tested_on, subset), {})
            by_seed.setdefault(run.seed, []).append(_of_subset(table, subset_of[run.split], subset, run))
    return [_pooled(arm, by_seed, plan.classes) for arm, by_seed in found.items()]


def matched_arms(groups: Iterable[Probabilities], split: str, subset: str = "test") -> list[Probabilities]:
    """The arms of a split and subset that are tested on the variant they were trained on, in their order."""
    return [one for one in groups if (one.split, one.subset) == (split, subset) and one.trained_on == one.tested_on]


def calibration_table(groups: Iterable[Probabilities]) -> pd.DataFrame:
    """What the probabilities of each arm are worth, a row for each of `groups`, every number a mean over its seeds.

    Columns: split, trained_on, tested_on, subset, images; ece (expected calibration error, 15 bins), confidence and
    accuracy; auc and average_precision, which are means over the classes that have a curve (macro), and then those of
    each class against the rest, auc_<class> and ap_<class>; NaN without a curve.
    """
    return pd.DataFrame(
        {
            "split": group.split,
            "trained_on": group.trained_on,
            "tested_on": group.tested_on,
            "subset": group.subset,
            "images": len(group.actual),
            "ece": group.calibration_error,
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

    Its area is the mean of the areas (vertical averaging; Fawcett, Pattern Recogn. Lett. 27, 2006).
    """
    rates = [curve.roc[["false_positive_rate", "true_positive_rate"]].to_numpy().T for curve in curves]
    # Where a curve is vertical, this is its upper end.
    return np.mean([np.interp(GRID, false, true) for false, true in rates], axis=0)


def mean_precision(curves: Sequence[Curves]) -> npt.NDArray[np.float64]:
    """The mean precision at each recall of `GRID` but 0, where none is defined.

    It is that of the highest threshold which reaches the recall, so that the area is the mean average precision.
    """
    points = [curve.precision_recall[["recall", "precision"]].to_numpy()[::-1].T for curve in curves]
    return np.mean([precision[np.searchsorted(recall, GRID[1:])] for recall, precision in points], axis=0)


def _place(run: Run, plan: Plan) -> tuple[int, ...]:
    """Where a run stands in the order of the plan."""
    try:
        return (
            list(dict.fromkeys(map(base_split, plan.splits))).index(base_split(run.split)),
            [*plan.variants, "dual"].index(run.trained_on),
            plan.variants.index(run.tested_on),
            plan.seeds.index(run.seed),
        )
    except ValueError as error:
        raise InputError(f"{run.path}: is not in the configuration; take it from the list of predictions") from error


def _read_run(run: Run, plan: Plan) -> pd.DataFrame:
    """A run's probabilities, a column for each class, with image and class as the index."""
    table = read_csv(run.path, ["image", "class", *plan.classes])
    try:
        probabilities = table[plan.classes].to_numpy(np.float64)
        calibration(probabilities, table["class"].to_numpy(), plan.classes)
    except ValueError as error:
        raise InputError(f"{run.path}: {error}; {_AGAIN}") from error
    return pd.DataFrame(probabilities, pd.MultiIndex.from_frame(table[["image", "class"]]), plan.classes)


def _of_subset(table: pd.DataFrame, subsets: pd.DataFrame, subset: str, run: Run) -> pd.DataFrame:
    wanted = subsets.loc[subsets["subset"] == subset, "image"]
    rows = table[table.index.isin(wanted, level="image")]
    if rows.index.unique("image").size < len(rows):
        raise InputError(f"{run.path}: has an image twice; {_AGAIN}")
    if missing := len(wanted) - len(rows):
        raise InputError(f"{run.path}: lacks {missing} of {len(wanted)} {subset} images; {_AGAIN}")
    return rows


def _pooled(
    arm: tuple[str, str, str, str], by_seed: dict[int, list[pd.DataFrame]], classes: list[str]
) -> Probabilities:
    split, trained_on, tested_on, subset = arm
    tables = {seed: pd.concat(folds).sort_index() for seed, folds in by_seed.items()}
    images = next(iter(tables.values())).index
    if images.empty:
        raise InputError(f"split {split}: has no {subset} image; give the data set more images")
    if images.get_level_values("image").has_duplicates:
        raise InputError(f"split {split}: has a {subset} image in two folds; run the rule split_dataset again")
    for seed, table in tables.items():
        if not table.index.equals(images):
            raise InputError(
                f"split {split}, trained on {trained_on}, tested on {tested_on}: seed {seed} has other {subset} images "
                "than the first, or other classes of them; take all predictions that the configuration names"
            )
    probabilities = {seed: table.to_numpy() for seed, table in tables.items()}
    return Probabilities(*arm, classes, images.get_level_values("class").to_numpy(), probabilities)
