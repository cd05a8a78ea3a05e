"""The accuracies of all arms."""

from __future__ import annotations

import numpy as np
import pandas as pd

from wbcsr.errors import InputError
from wbcsr.stats.predictions import Arm
from wbcsr.study import published
from wbcsr.study.plan import Plan

TEXTS = ["split", "trained_on", "tested_on", "subset", "reason"]
NUMBERS = [
    *("images", "unknown", "sources", "effective_sources", "shared", "runs"),
    *("accuracy", "accuracy_sd", "accuracy_low", "accuracy_high", "macro_f1", "study_accuracy"),
    "difference_to_original",
]


def compare_arms(arms: list[Arm], leakage: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """A row for each arm, with the columns `TEXTS` and `NUMBERS`, and the mean F1 score of each class as `f1_<class>`.

    F1 is NaN for a class without images, and `macro_f1` is the mean of the other classes. `accuracy` and `macro_f1` are
    means over the runs (one for each seed; of an extra test, one for each seed and fold), and `accuracy_sd` is the
    sample standard deviation over them. `accuracy_low` and `accuracy_high` are the ends of the 95 % interval of the
    mean accuracy over sources (`wbcsr.stats.intervals.accuracy_interval`). They are empty if there is no interval, and
    `reason` says why. If some sources are known, `images` and the accuracies include only images whose source is known,
    and `unknown` is the number of the others; F1 scores include all images. `sources` and `shared` come from `leakage`
    (`wbcsr.stats.counts.read_leakage`): the number of sources of the images (empty if none is known), and the number of
    images that have an augmented duplicate in training. `study_accuracy` follows from the study's confusion matrices.
    `difference_to_original` is the difference to the arm that was trained and tested on `original` in the same split
    and subset. Raises InputError if `leakage` counts other images than were predicted.
    """
    on_original = {
        (arm.split, arm.subset): arm.accuracy for arm in arms if arm.trained_on == arm.tested_on == "original"
    }
    rows = []
    for arm in arms:
        f1 = pd.concat([scores.by_class["f1"] for scores in arm.scores], axis=1).mean(axis=1)
        # What is taken for a class of which there is no image counts against the class that it is of.
        f1 = f1.where(arm.scores[0].by_class["support"] > 0)
        counted = leakage.loc[arm.split, arm.subset, ""]
        if counted["images"] != arm.images:
            raise InputError(
                f"leakage.csv: has {counted['images']} {arm.subset} images of the split {arm.split}, but {arm.images} "
                "were predicted; run `snakemake --forcerun audit_leakage`"
            )
        names = (arm.split, arm.trained_on, arm.tested_on, arm.subset)
        rows.append(
            {
                **dict(zip(TEXTS, (*names, arm.estimate.reason), strict=True)),
                "images": arm.estimate.images,
                "unknown": counted["unknown"],
                "sources": counted["sources"] if arm.has_sources else np.nan,
                "effective_sources": arm.estimate.effective_sources,
                "shared": counted["shared"] if arm.has_sources else np.nan,
                "runs": len(arm.accuracies),
                "accuracy": arm.accuracy,
                "accuracy_sd": pd.Series(arm.accuracies).std(),
                "accuracy_low": arm.estimate.low,
                "accuracy_high": arm.estimate.high,
                "macro_f1": f1.mean(),
                "study_accuracy": published.accuracy(*names, plan.published_classes),
                "difference_to_original": arm.accuracy - on_original[arm.split, arm.subset],
                **{f"f1_{name}": value for name, value in f1.items()},
            }
        )
    return pd.DataFrame(rows).astype({"study_accuracy": float, "sources": "Int64", "shared": "Int64"})


def main_arm(arms: list[Arm], plan: Plan, variant: str | None) -> Arm | None:
    """The arm that the study's tables show: trained and tested on `variant`, validation images, first split."""
    wanted = (plan.splits[0], variant, variant, "validation")
    return next((arm for arm in arms if (arm.split, arm.trained_on, arm.tested_on, arm.subset) == wanted), None)
