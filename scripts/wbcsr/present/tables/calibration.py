"""The table of calibration."""

from __future__ import annotations

import pandas as pd

from wbcsr.present.table import Table, each, number, percent
from wbcsr.present.tables.accuracies import ARM, BY_SUBSET

# Of fewer images, the calibration error is far above 0 by chance alone.
LEAST_IMAGES = 200


def calibration_error_text(error: float, images: int) -> str:
    """The expected calibration error; empty with fewer than `LEAST_IMAGES` images."""
    return f"{error:.3f}" if images >= LEAST_IMAGES else ""


def calibration_table(data: pd.DataFrame) -> Table:
    """A row for each arm; `data` comes from `wbcsr.stats.calibration.calibrations`, or is a part of it."""
    return Table(
        "calibration",
        "Calibration",
        "How well the predicted probabilities are calibrated, and how well they separate each class from the others.",
        data,
        [
            *ARM,
            number("images", "Images", ",.0f"),
            each("ece", "ECE", lambda row: calibration_error_text(row["ece"], row["images"])),
            number("brier", "Brier", ".3f"),
            number("log_loss", "Log loss", ".3f"),
            percent("confidence", "Confidence"),
            percent("accuracy", "Accuracy"),
            number("auc", "AUC", ".3f"),
            number("average_precision", "AP", ".3f"),
        ],
        note="Means over the seeds. ECE: expected calibration error in 15 bins; not shown for fewer than "
        f"{LEAST_IMAGES} images, because it is then above 0 by chance alone. Brier: mean of the "
        "squared differences between the probabilities and the truth (1 for the actual class, 0 for the others), "
        "summed over the classes: from 0 to 2. Log loss: mean of −ln(probability of the actual class). Lower is better "
        "for all three. Confidence: mean of the largest "
        "probability. AUC, AP: area under the ROC curve and average precision, means over the classes; with "
        "several folds they are computed on the images of all folds together, and are slightly smaller than within one "
        "fold. The values of each class are in calibration.csv.",
        source="results/tables/calibration.csv",
        **BY_SUBSET,
    )
