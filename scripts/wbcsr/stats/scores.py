"""Confusion matrices, and the scores that follow from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support


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
