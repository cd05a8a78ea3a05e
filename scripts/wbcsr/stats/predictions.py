"""The predictions of the runs, grouped by arm."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from wbcsr.config import parse_split
from wbcsr.errors import InputError, how_to_regenerate
from wbcsr.files import read_csv
from wbcsr.stats.intervals import Estimate, accuracy_interval
from wbcsr.stats.scores import Scores, confusion, score
from wbcsr.study.labels import SUBSETS
from wbcsr.study.plan import Plan

_AGAIN = "delete its predictions and run again"


@dataclass(frozen=True)
class Run:
    """One trained classifier, the variant it was tested on, and the file of its predictions.

    `split` is the name of one fold.
    """

    split: str
    trained_on: str
    tested_on: str
    seed: int
    path: Path


@dataclass(frozen=True)
class Arm:
    """The predictions of all runs for one training variant, one tested variant, one split and one subset.

    All runs have the same images. `rows` has the columns image, class, fold (from 1) and source (empty if it is
    unknown). `predicted` holds the class that each run predicted for each image (images,); `probabilities` holds the
    probabilities of all `classes` (images, classes). If the split has folds, each image of validation and test occurs
    exactly once, and the folds of a seed are one run, `seed 0`. An extra test has the same images in all folds, and
    each fold is a run: `seed 0`, `seed 0, fold 2`, ….
    """

    split: str
    trained_on: str
    tested_on: str
    subset: str
    classes: list[str]
    rows: pd.DataFrame
    predicted: dict[str, npt.NDArray[np.object_]]
    probabilities: dict[str, npt.NDArray[np.float64]]

    @cached_property
    def matrices(self) -> dict[str, pd.DataFrame]:
        """The confusion matrix of each run."""
        return {run: confusion(self.rows["class"], names, self.classes) for run, names in self.predicted.items()}

    @property
    def first(self) -> tuple[str, pd.DataFrame]:
        """The first run and its confusion matrix."""
        return next(iter(self.matrices.items()))

    @property
    def images(self) -> int:
        """The number of images of the subset that each run classified, whether or not their source is known."""
        return len(self.rows)

    @cached_property
    def scores(self) -> list[Scores]:
        """The scores of each seed."""
        return [score(matrix) for matrix in self.matrices.values()]

    @property
    def has_sources(self) -> bool:
        """Whether the source of any image is known."""
        return bool((self.rows["source"] != "").any())

    @cached_property
    def independent(self) -> pd.DataFrame:
        """The rows that statistics use: those of known source; if no source is known, all, each as its own source."""
        if not self.has_sources:
            return self.rows.assign(source=self.rows["image"])
        return self.rows[self.rows["source"] != ""]

    @cached_property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Whether each seed was correct on each of the `independent` rows, (seeds, rows)."""
        rows = self.independent
        return np.array([names[rows.index] == rows["class"] for names in self.predicted.values()], dtype=bool)

    @property
    def accuracies(self) -> npt.NDArray[np.float64]:
        """The accuracy of each seed on the `independent` rows, (seeds,)."""
        return self.correct.mean(axis=1)

    @property
    def accuracy(self) -> float:
        """The mean of `accuracies`."""
        return self.estimate.value

    @cached_property
    def estimate(self) -> Estimate:
        """The accuracy on the `independent` rows, averaged over the seeds, with its 95 % interval over sources."""
        return accuracy_interval(self.correct, self.independent["source"], self.independent["class"])


def read_arms(runs: Iterable[Run], splits: Iterable[str | Path], sources: str | Path, plan: Plan) -> list[Arm]:
    """Read the runs' predictions by arm, in the order of the plan; the folds of one split are pooled.

    `splits` are the files `<split>.csv` with the columns image and subset, one for each fold; `sources` is sources.csv.
    Raises InputError if a file does not belong to the plan, or if a run lacks an image of a subset or has one twice.
    """
    subset_of = {Path(path).stem: read_csv(path, ["image", "subset"]) for path in splits}
    source_of = read_csv(sources, ["image", "source"]).set_index("image")["source"]
    in_order = sorted(
        (_checked(run, plan, subset_of) for run in runs),
        key=lambda run: (
            plan.splits.index(parse_split(run.split)[0]),
            list(plan.trainings).index(run.trained_on),
            plan.variants.index(run.tested_on),
            plan.seeds.index(run.seed),
            parse_split(run.split)[1],
        ),
    )
    found: dict[tuple[str, str, str, str], dict[str, list[pd.DataFrame]]] = {}
    for run in in_order:
        table = _read_run(run, plan)
        split, fold = parse_split(run.split)
        for subset in plan.subsets:
            # The folds share out the images of validation and test, and all have those of an extra test.
            apart = subset not in SUBSETS and fold > 1
            name = f"seed {run.seed}, fold {fold}" if apart else f"seed {run.seed}"
            rows = _of_subset(table, subset_of[run.split], subset, run).assign(fold=fold)
            found.setdefault((split, run.trained_on, run.tested_on, subset), {}).setdefault(name, []).append(rows)
    return [_arm(*key, plan, by_run, source_of) for key, by_run in found.items()]


def check_probabilities(probabilities: npt.NDArray[np.float64]) -> None:
    """Raise ValueError if a row (images, classes) is not a probability distribution; rounded numbers are accepted."""
    bounded = (probabilities >= 0) & (probabilities <= 1 + 1e-6)
    if not (bounded.all() and np.allclose(probabilities.sum(axis=1), 1, atol=1e-3)):
        raise ValueError("a probability is missing, below 0 or above 1, or those of an image do not sum to 1")


def _arm(
    split: str,
    trained_on: str,
    tested_on: str,
    subset: str,
    plan: Plan,
    by_run: dict[str, list[pd.DataFrame]],
    source_of: pd.Series,
) -> Arm:
    tables = {run: pd.concat(folds).set_index("image").sort_index() for run, folds in by_run.items()}
    first = next(iter(tables.values()))
    arm = f"split {split}, trained on {trained_on}, tested on {tested_on}"
    for run, table in tables.items():
        if table.index.has_duplicates:
            image = table.index[table.index.duplicated()][0]
            raise InputError(f"{arm}: two folds have the {subset} image {image}; delete the splits and run again")
        if not table["class"].equals(first["class"]):
            raise InputError(f"{arm}: {run} was not tested on the same {subset} images as the others; {_AGAIN}")
    lost = first.index.difference(source_of.index)
    if len(lost):
        raise InputError(f"{arm}: sources.csv lacks the image {lost[0]}; delete it and run again")
    rows = first[["class", "fold"]].assign(source=source_of.loc[first.index]).reset_index()
    predicted = {run: table["predicted"].to_numpy() for run, table in tables.items()}
    probabilities = {run: table[plan.classes].to_numpy() for run, table in tables.items()}
    return Arm(split, trained_on, tested_on, subset, plan.classes, rows, predicted, probabilities)


def _read_run(run: Run, plan: Plan) -> pd.DataFrame:
    """The predictions of a run, with its probabilities as numbers."""
    table = read_csv(run.path, ["image", "class", "predicted", *plan.classes])
    unknown = sorted((set(table["class"]) | set(table["predicted"])) - set(plan.classes))
    if unknown:
        raise InputError(f"{run.path}: has the class '{unknown[0]}', which dataset.classes lacks; predict again")
    try:
        table[plan.classes] = table[plan.classes].astype(float)
        check_probabilities(table[plan.classes].to_numpy())
    except ValueError as error:
        raise InputError(f"{run.path}: {error}; {how_to_regenerate(run.path)}") from error
    return table


def _checked(run: Run, plan: Plan, subset_of: dict[str, pd.DataFrame]) -> Run:
    is_known = {
        "split": parse_split(run.split)[0] in plan.splits and run.split in subset_of,
        "training variant": run.trained_on in plan.trainings,
        "variant": run.tested_on in plan.variants,
        "seed": run.seed in plan.seeds,
    }
    for what, known in is_known.items():
        if not known:
            raise InputError(
                f"{run.path}: its {what} is not in the configuration; remove the file from the list of predictions"
            )
    return run


def _of_subset(table: pd.DataFrame, subsets: pd.DataFrame, subset: str, run: Run) -> pd.DataFrame:
    wanted = subsets.loc[subsets["subset"] == subset, "image"]
    if wanted.empty:
        raise InputError(f"split {run.split}: has no {subset} image; give the data set more images")
    rows = table[table["image"].isin(wanted)]
    if rows["image"].duplicated().any():
        raise InputError(f"{run.path}: has an image twice; {how_to_regenerate(run.path)}")
    if len(rows) < len(wanted):
        missing = len(wanted) - len(rows)
        raise InputError(f"{run.path}: lacks {missing} of {len(wanted)} {subset} images; {how_to_regenerate(run.path)}")
    return rows
