"""Confusion matrices of the runs, and what follows from them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from wbcsr.config import compared_variant
from wbcsr.errors import InputError
from wbcsr.evaluate import SUBSETS
from wbcsr.files import read_csv


@dataclass(frozen=True)
class Plan:
    """What the configuration asks for, each list in the order of the configuration.

    `partitions` maps `train` and `test` to the names of the folders the images were published in.
    """

    classes: list[str]
    variants: list[str]
    splits: list[str]
    seeds: list[int]
    partitions: dict[str, str]

    @property
    def enhanced(self) -> str | None:
        """What is laid beside `original`; see `compared_variant`."""
        return compared_variant(self.variants)


@dataclass(frozen=True)
class Run:
    """One trained classifier, the variant it was tested on, and the file of its predictions."""

    split: str
    trained_on: str
    tested_on: str
    seed: int
    path: Path


def run_of(path: str | Path) -> Run:
    """The run that `…/<split>/<training variant>/seed<seed>/<variant>.csv` belongs to.

    A `history.csv` lies in a folder of the same shape; its `tested_on` means nothing.
    InputError where the path has another shape.
    """
    path = Path(path)
    folders = path.parent.parts[-3:]
    seed = re.fullmatch(r"seed(\d+)", folders[-1]) if len(folders) == 3 else None
    if seed is None:
        raise InputError(f"{path}: not the path of a run; it must end as <split>/<training variant>/seed<n>/<file>.csv")
    return Run(folders[0], folders[1], path.stem, int(seed[1]), path)


@dataclass(frozen=True)
class Scores:
    """Scores of one confusion matrix; a ratio whose denominator is 0 counts as 0.

    `by_class` has a row for each class and the columns precision, recall, f1 and support; `macro` and
    `weighted` hold the averages of precision, recall and f1 over the classes, plain and by support.
    """

    accuracy: float
    by_class: pd.DataFrame
    macro: pd.Series
    weighted: pd.Series


def confusion(actual: Iterable[str], predicted: Iterable[str], classes: list[str]) -> pd.DataFrame:
    """Count the images of each actual class (rows) that were predicted as each class (columns)."""
    counts = confusion_matrix(list(actual), list(predicted), labels=classes)
    return pd.DataFrame(counts, index=classes, columns=classes)


def score(matrix: pd.DataFrame) -> Scores:
    """The scores that follow from a confusion matrix (rows actual, columns predicted, whole counts).

    Every number of ours and of the study goes through here. A matrix without images is a ValueError.
    """
    counts = matrix.to_numpy()
    if counts.sum() == 0:
        raise ValueError("a confusion matrix without images has no scores")
    numbers = np.arange(len(counts))
    actual = np.repeat(numbers, counts.sum(axis=1))
    predicted = np.concatenate([np.repeat(numbers, row) for row in counts])
    columns = precision_recall_fscore_support(actual, predicted, labels=numbers, zero_division=0.0)
    by_class = pd.DataFrame(dict(zip(("precision", "recall", "f1", "support"), columns, strict=True)), matrix.index)
    ratios = by_class[["precision", "recall", "f1"]]
    return Scores(
        accuracy=float((actual == predicted).mean()),
        by_class=by_class,
        macro=ratios.mean(),
        weighted=ratios.mul(by_class["support"], axis=0).sum() / counts.sum(),
    )


def wilson_interval(proportion: float, images: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion of `images` (Wilson, JASA 22, 1927, 209–212).

    The proportion may be a mean over several runs, so it need not be a whole number of images; nor need `images`,
    which may be how many independent ones they are worth.
    """
    z = float(norm.ppf((1 + confidence) / 2))
    centre = proportion + z**2 / (2 * images)
    half = z * (proportion * (1 - proportion) / images + z**2 / (4 * images**2)) ** 0.5
    scale = 1 + z**2 / images
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


@dataclass(frozen=True)
class Arm:
    """Trained on one variant, tested on another, for one split and subset: a confusion matrix for each seed."""

    split: str
    trained_on: str
    tested_on: str
    subset: str
    matrices: dict[int, pd.DataFrame]

    @property
    def first(self) -> tuple[int, pd.DataFrame]:
        """The first seed and its confusion matrix."""
        return next(iter(self.matrices.items()))

    @property
    def images(self) -> int:
        """How many images of the subset were classified in each run."""
        return int(self.first[1].to_numpy().sum())

    @cached_property
    def scores(self) -> list[Scores]:
        """The scores of each seed."""
        return [score(matrix) for matrix in self.matrices.values()]

    @property
    def accuracies(self) -> list[float]:
        """The accuracy of each seed."""
        return [scores.accuracy for scores in self.scores]

    @property
    def accuracy(self) -> float:
        """The mean accuracy over the seeds."""
        return float(np.mean(self.accuracies))

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the mean accuracy over the images; see `wilson_interval`."""
        return wilson_interval(self.accuracy, self.images)


def read_arms(predictions: Iterable[str | Path], splits: Iterable[str | Path], plan: Plan) -> list[Arm]:
    """Read the runs' predictions and count them by arm, in the order of the plan.

    `splits` are the files `<split>.csv` of columns image and subset. InputError where a file does not
    belong to the plan, or where a run lacks an image of a subset, or has one twice.
    """
    subset_of = {Path(path).stem: read_csv(path, ["image", "subset"]) for path in splits}
    trainings = [*plan.variants, "dual"]
    runs = sorted(
        (_checked(run_of(path), plan, trainings, subset_of) for path in predictions),
        key=lambda run: (
            plan.splits.index(run.split),
            trainings.index(run.trained_on),
            plan.variants.index(run.tested_on),
            plan.seeds.index(run.seed),
        ),
    )
    found: dict[tuple[str, str, str, str], dict[int, pd.DataFrame]] = {}
    for run in runs:
        table = read_csv(run.path, ["image", "class", "predicted"])
        unknown = sorted((set(table["class"]) | set(table["predicted"])) - set(plan.classes))
        if unknown:
            raise InputError(f"{run.path}: has the class '{unknown[0]}', which dataset.classes lacks; predict again")
        for subset in SUBSETS:
            rows = _of_subset(table, subset_of[run.split], subset, run)
            matrices = found.setdefault((run.split, run.trained_on, run.tested_on, subset), {})
            matrices[run.seed] = confusion(rows["class"], rows["predicted"], plan.classes)
    return [Arm(*key, matrices) for key, matrices in found.items()]


def _checked(run: Run, plan: Plan, trainings: list[str], subset_of: dict[str, pd.DataFrame]) -> Run:
    asked = {
        "split": run.split in plan.splits and run.split in subset_of,
        "training variant": run.trained_on in trainings,
        "variant": run.tested_on in plan.variants,
        "seed": run.seed in plan.seeds,
    }
    for what, known in asked.items():
        if not known:
            raise InputError(
                f"{run.path}: its {what} is not in the configuration; take it from the list of predictions"
            )
    return run


def _of_subset(table: pd.DataFrame, subsets: pd.DataFrame, subset: str, run: Run) -> pd.DataFrame:
    wanted = subsets.loc[subsets["subset"] == subset, "image"]
    if wanted.empty:
        raise InputError(f"split {run.split}: has no {subset} image; give the data set more images")
    rows = table[table["image"].isin(wanted)]
    if rows["image"].duplicated().any():
        raise InputError(f"{run.path}: has an image twice; delete it and predict again")
    if len(rows) < len(wanted):
        missing = len(wanted) - len(rows)
        raise InputError(f"{run.path}: lacks {missing} of {len(wanted)} {subset} images; delete it and predict again")
    return rows
