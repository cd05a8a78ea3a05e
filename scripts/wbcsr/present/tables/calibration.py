"""The table of calibration."""

from __future__ import annotations

import pandas as pd

from wbcsr.present.table import Table, number, percent
from wbcsr.present.tables.accuracies import ARM, subset_title


def calibration_table(data: pd.DataFrame) -> Table:
    """A row for each arm; `data` is of `wbcsr.stats.calibration.calibration_table`, or some rows of it."""
    return Table(
        "calibration",
        "Calibration",
        "How well the probabilities are calibrated, and how well they rank the images of each class before the others.",
        data,
        [
            *ARM,
            number("images", "Images", ",.0f"),
            number("ece", "ECE", ".3f"),
            percent("confidence", "Confidence"),
            percent("accuracy", "Accuracy"),
            number("auc", "AUC", ".3f"),
            number("average_precision", "AP", ".3f"),
        ],
        note="Means over the seeds. ECE: expected calibration error in 15 bins, above 0 by chance alone where images "
        "are few. Confidence: mean of the largest probability. AUC, AP: area under the ROC curve and average "
        "precision, means over the classes; of folds they are of all images together, which makes them rather smaller "
        "than within a fold. The file calibration.csv has those of each class.",
        blocks=("split", "subset"),
        title_of=subset_title,
        source="results/tables/calibration.csv",
    )
