"""Confusion matrices of the runs, and what follows from them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from wbcsr.config import Config, compared_variant, judged_split, parse_split, partitions_of, training_variants
from wbcsr.errors import InputError, make_again
from wbcsr.evaluate import SUBSETS
from wbcsr.evaluate.statistics import Estimate, accuracy_interval, check_probabilities
from wbcsr.files import read_csv

_AGAIN = "delete its predictions and run again"


@dataclass(frozen=True)
class Plan:
    """What the configuration asks for, each list in the order of the configuration.

    `splits` are without folds; `partitions` maps `train`, `validation` where there is one, and `test` to the names of
    the folders the images were published in, or `train` alone to the name that stands for all; `trainings` is of
    `wbcsr.config.training_variants`.
    """

    classes: list[str]
    variants: list[str]
    splits: list[str]
    seeds: list[int]
    partitions: dict[str, str]
    trainings: dict[str, list[str]]

    @classmethod
    def of(cls, config: Config) -> Plan:
        """The plan of a complete configuration."""
        dataset = config["dataset"]
        return cls(
            classes=dataset["classes"],
            variants=config["variants"],
            splits=config["splits"],
            seeds=config["seeds"],
            partitions=partitions_of(dataset),
            trainings=training_variants(config),
        )

    @property
    def enhanced(self) -> str | None:
        """What is laid beside `original`; see `compared_variant`."""
        return compared_variant(self.variants)

    def is_own(self, trained_on: str, tested_on: str) -> bool:
        """Whether a classifier that was trained on the one was tested on the same images, and not across variants."""
        return tested_on in self.trainings[trained_on]

    def own(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows of a table of arms, by its columns trained_on and tested_on, for which `is_own` holds."""
        names = zip(table["trained_on"], table["tested_on"], strict=True)
        return table[[self.is_own(*pair) for pair in names]]

    @property
    def judged(self) -> tuple[str, str]:
        """Split and subset that the answer is read from; by test images nothing was chosen."""
        return judged_split(self.splits), "test"


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


@dataclass(frozen=True)
class Arm:
    """Trained on one variant, tested on another, for one split and subset: each seed's predictions of the same images.

    `rows` has the columns image, class and source (empty where none is known). `predicted` is the class that each
    seed's run gave to each of them, (images,), `probabilities` those of all `classes`, (images, classes). Of a split
    in folds all images of the subset are here, each once.
    """

    split: str
    trained_on: str
    tested_on: str
    subset: str
    classes: list[str]
    rows: pd.DataFrame
    predicted: dict[int, npt.NDArray[np.object_]]
    probabilities: dict[int, npt.NDArray[np.float64]]

    @cached_property
    def matrices(self) -> dict[int, pd.DataFrame]:
        """The confusion matrix of each seed."""
        return {seed: confusion(self.rows["class"], names, self.classes) for seed, names in self.predicted.items()}

    @property
    def first(self) -> tuple[int, pd.DataFrame]:
        """The first seed and its confusion matrix."""
        return next(iter(self.matrices.items()))

    @property
    def images(self) -> int:
        """How many images of the subset were classified in each run, of known source or not."""
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
        """The rows that statistics take: those of a known source, or, where none is known, all, each its own source."""
        if not self.has_sources:
            return self.rows.assign(source=self.rows["image"])
        return self.rows[self.rows["source"] != ""]

    @cached_property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Whether each seed was right on each of the `independent` rows, (seeds, rows)."""
        rows = self.independent
        return np.array([names[rows.index] == rows["class"] for names in self.predicted.values()], dtype=bool)

    @property
    def accuracies(self) -> npt.NDArray[np.float64]:
        """The accuracy of each seed on the `independent` rows, (seeds,)."""
        return self.correct.mean(axis=1)

    @property
    def accuracy(self) -> float:
        """Their mean."""
        return self.estimate.value

    @cached_property
    def estimate(self) -> Estimate:
        """The accuracy on the `independent` rows, mean over the seeds, with its 95 % interval over sources."""
        return accuracy_interval(self.correct, self.independent["source"], self.independent["class"])


def read_arms(
    predictions: Iterable[str | Path], splits: Iterable[str | Path], sources: str | Path, plan: Plan
) -> list[Arm]:
    """Read the runs' predictions by arm, in the order of the plan; folds of one split are put together.

    `splits` are the files `<split>.csv` of columns image and subset, one for each fold; `sources` is sources.csv.
    InputError where a file does not belong to the plan, or where a run lacks an image of a subset, or has one twice.
    """
    subset_of = {Path(path).stem: read_csv(path, ["image", "subset"]) for path in splits}
    source_of = read_csv(sources, ["image", "source"]).set_index("image")["source"]
    runs = sorted(
        (_checked(run_of(path), plan, subset_of) for path in predictions),
        key=lambda run: (
            plan.splits.index(parse_split(run.split)[0]),
            list(plan.trainings).index(run.trained_on),
            plan.variants.index(run.tested_on),
            plan.seeds.index(run.seed),
            parse_split(run.split)[1],
        ),
    )
    found: dict[tuple[str, str, str, str], dict[int, list[pd.DataFrame]]] = {}
    for run in runs:
        table = _read_run(run, plan)
        for subset in SUBSETS:
            key = (parse_split(run.split)[0], run.trained_on, run.tested_on, subset)
            rows = _of_subset(table, subset_of[run.split], subset, run)
            found.setdefault(key, {}).setdefault(run.seed, []).append(rows)
    return [_arm(*key, plan, by_seed, source_of) for key, by_seed in found.items()]


def _arm(
    split: str,
    trained_on: str,
    tested_on: str,
    subset: str,
    plan: Plan,
    by_seed: dict[int, list[pd.DataFrame]],
    source_of: pd.Series,
) -> Arm:
    tables = {seed: pd.concat(folds).set_index("image").sort_index() for seed, folds in by_seed.items()}
    first = next(iter(tables.values()))
    arm = f"split {split}, trained on {trained_on}, tested on {tested_on}"
    for seed, table in tables.items():
        if table.index.has_duplicates:
            image = table.index[table.index.duplicated()][0]
            raise InputError(f"{arm}: two folds have the {subset} image {image}; delete the splits and run again")
        if not table["class"].equals(first["class"]):
            raise InputError(f"{arm}: seed {seed} was not tested on the same {subset} images as the others; {_AGAIN}")
    lost = first.index.difference(source_of.index)
    if len(lost):
        raise InputError(f"{arm}: sources.csv lacks the image {lost[0]}; delete it and run again")
    rows = first[["class"]].assign(source=source_of.loc[first.index]).reset_index()
    predicted = {seed: table["predicted"].to_numpy() for seed, table in tables.items()}
    probabilities = {seed: table[plan.classes].to_numpy() for seed, table in tables.items()}
    return Arm(split, trained_on, tested_on, subset, plan.classes, rows, predicted, probabilities)


def _read_run(run: Run, plan: Plan) -> pd.DataFrame:
    """A run's predictions, its probabilities as numbers."""
    table = read_csv(run.path, ["image", "class", "predicted", *plan.classes])
    unknown = sorted((set(table["class"]) | set(table["predicted"])) - set(plan.classes))
    if unknown:
        raise InputError(f"{run.path}: has the class '{unknown[0]}', which dataset.classes lacks; predict again")
    try:
        table[plan.classes] = table[plan.classes].astype(float)
        check_probabilities(table[plan.classes].to_numpy())
    except ValueError as error:
        raise InputError(f"{run.path}: {error}; {make_again(run.path)}") from error
    return table


def _checked(run: Run, plan: Plan, subset_of: dict[str, pd.DataFrame]) -> Run:
    asked = {
        "split": parse_split(run.split)[0] in plan.splits and run.split in subset_of,
        "training variant": run.trained_on in plan.trainings,
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
        raise InputError(f"{run.path}: has an image twice; {make_again(run.path)}")
    if len(rows) < len(wanted):
        missing = len(wanted) - len(rows)
        raise InputError(f"{run.path}: lacks {missing} of {len(wanted)} {subset} images; {make_again(run.path)}")
    return rows
