"""The numbers that the study published, as data.

Nagarhalli et al., "Assessing the Impact of Image Super Resolution on White Blood Cell Classification
Accuracy", IJETT 73(6), 2025. Only the counts are used in results; the printed scores are here so
that a test can show that they follow from the counts.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

TITLE = "Assessing the Impact of Image Super Resolution on White Blood Cell Classification Accuracy"
AUTHORS = (
    "T. P. Nagarhalli",
    "S. S. Pawar",
    "S. A. Dahanukar",
    "U. Aswalekar",
    "A. M. Save",
    "S. D. Patil",
)
JOURNAL = "International Journal of Engineering Trends and Technology 73(6):52–64"
YEAR = 2025
DOI = "10.14445/22315381/IJETT-V73I6P106"
CITATION = f"Nagarhalli et al. ({YEAR}), doi:{DOI}"

CLASSES = ["EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL"]

# The class of the image that Figures 2 and 3 show.
SHOWN = "EOSINOPHIL"

# The two classes that the study finds hard to distinguish and hopes to distinguish better after super-resolution.
PAIR = ("EOSINOPHIL", "NEUTROPHIL")

# Table 2: images of each class in the two published partitions.
COUNTS = {"train": [2497, 2483, 2478, 2499], "test": [623, 620, 620, 624]}

# Tables 5 and 6: validation images, rows actual, columns predicted.
SPLIT, SUBSET = "paper", "validation"
MATRICES = {
    "original": [[447, 9, 0, 43], [9, 481, 0, 6], [10, 1, 479, 5], [65, 6, 10, 418]],
    "realesrgan_x4": [[423, 9, 12, 55], [18, 466, 5, 7], [5, 2, 488, 0], [73, 6, 20, 400]],
}

# From this project's own audit of the study's validation images (`snakemake -- dataset` on the whole archive:
# sources.csv, splits/leakage.csv): the number of images, the number of their photographs, and the number of images that
# have an augmented duplicate in training; also the mean, over images, of the number of images of the same photograph.
VALIDATION_IMAGES, VALIDATION_SOURCES, VALIDATION_SHARED = 1989, 251, 1989
VALIDATION_IMAGES_PER_SOURCE = 19.7

# Tables 3 and 4 as printed: precision, recall and F1 of each class, and the accuracy.
PRINTED_SCORES = {
    "original": [(0.84, 0.90, 0.87), (0.97, 0.97, 0.97), (0.98, 0.97, 0.97), (0.89, 0.84, 0.86)],
    "realesrgan_x4": [(0.82, 0.85, 0.83), (0.96, 0.94, 0.95), (0.93, 0.99, 0.96), (0.87, 0.80, 0.83)],
}
PRINTED_ACCURACY = {"original": 0.92, "realesrgan_x4": 0.89}


def matrix(variant: str) -> pd.DataFrame:
    """The study's confusion matrix for `original` or `realesrgan_x4` (Tables 5 and 6)."""
    return pd.DataFrame(MATRICES[variant], index=CLASSES, columns=CLASSES)


def counts() -> pd.DataFrame:
    """The study's Table 2: a row for each class, the columns train and test."""
    return pd.DataFrame(COUNTS, index=CLASSES)


def accuracy(split: str, trained_on: str, tested_on: str, subset: str, classes: list[str]) -> float | None:
    """The accuracy that the study reached in this arm with these classes; None if the study does not report it."""
    told = (split, subset) == (SPLIT, SUBSET) and trained_on == tested_on and tested_on in MATRICES
    if not told or {name.upper() for name in classes} != set(CLASSES):
        return None
    counts = matrix(tested_on).to_numpy()
    return float(np.trace(counts) / counts.sum())


def shown(classes: list[str]) -> str:
    """The class that Figures 2 and 3 show, as `classes` spells it; the first class if `classes` does not have it."""
    return next((name for name in classes if name.upper() == SHOWN), classes[0])


def pair(classes: list[str]) -> tuple[str, str] | None:
    """The two classes that the study is about, as `classes` spells them; None if `classes` does not have both."""
    found = {name.upper(): name for name in classes}
    return (found[PAIR[0]], found[PAIR[1]]) if set(PAIR) <= found.keys() else None
