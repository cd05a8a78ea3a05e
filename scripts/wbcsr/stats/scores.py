"""Confusion matrices, and the scores that follow from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from wbcsr.study.labels import summary_label


@dataclass(frozen=True)
class Scores:
    """Scores of one confusion matrix; a ratio whose denominator is 0 counts as 0.

    `by_class` has a row for each class and the columns precision, recall, f1, support and accuracy: the share of all
    images that were assigned correctly to this class or to the others. `macro` and `weighted` hold
    the averages of precision, recall and f1 over the classes: unweighted, and weighted by support.
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
    """The scores of a confusion matrix (rows actual, columns predicted, whole counts).

    All scores come from this function, our own and those of the study. Raises ValueError if the matrix has no images.
    """
    counts = matrix.to_numpy()
    if counts.sum() == 0:
        raise ValueError("a confusion matrix without images has no scores")
    numbers = np.arange(len(counts))
    actual = np.repeat(numbers, counts.sum(axis=1))
    predicted = np.concatenate([np.repeat(numbers, row) for row in counts])
    columns = precision_recall_fscore_support(actual, predicted, labels=numbers, zero_division=0.0)
    by_class = pd.DataFrame(dict(zip(("precision", "recall", "f1", "support"), columns, strict=True)), matrix.index)
    confused = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
    by_class["accuracy"] = 1 - confused / counts.sum()
    ratios = by_class[["precision", "recall", "f1"]]
    return Scores(
        accuracy=float((actual == predicted).mean()),
        by_class=by_class,
        macro=ratios.mean(),
        weighted=ratios.mul(by_class["support"], axis=0).sum() / counts.sum(),
    )


RATIOS = ["precision", "recall", "f1"]
# The rows below the rows of the classes.
AVERAGES = ("accuracy", "macro average", "weighted average")


def score_rows(matrix: pd.DataFrame | None) -> pd.DataFrame:
    """The scores of a confusion matrix as rows: class, `RATIOS` and support; no rows if there is no matrix.

    Each class has a row, and the rows of `AVERAGES` follow; the accuracy is in the column f1.
    """
    if matrix is None:
        return pd.DataFrame(columns=["class", *RATIOS, "support"]).astype({**dict.fromkeys(RATIOS, float)})
    scores = score(matrix)
    by_class = scores.by_class.drop(columns="accuracy")
    names = [summary_label(name, list(matrix.index)) for name in AVERAGES]
    summary = pd.DataFrame([{"f1": scores.accuracy}, scores.macro, scores.weighted], index=names)
    summary["support"] = int(matrix.to_numpy().sum())
    return pd.concat([by_class, summary]).rename_axis("class").reset_index()[["class", *RATIOS, "support"]]


def confusion_rows(matrix: pd.DataFrame | None, classes: list[str]) -> pd.DataFrame:
    """A confusion matrix as rows: actual, and a column for each predicted class; no rows if there is no matrix."""
    rows = pd.DataFrame(columns=classes, dtype=int) if matrix is None else matrix.copy()
    rows.insert(0, "actual", rows.index, allow_duplicates=True)  # a class may have the name "actual", too
    return rows
