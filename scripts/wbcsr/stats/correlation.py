"""Correlation of correct predictions between images of one source, and the resulting effective number of images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm

from wbcsr.stats.predictions import Arm

COLUMNS = [
    *("split", "subset", "trained_on", "tested_on"),
    *("images", "sources", "images_per_source", "within_sources", "design_effect", "worth_images", "with_original"),
]
TEXTS = 4


def correlations(arms: list[Arm]) -> pd.DataFrame:
    """A row for each arm, with `COLUMNS`.

    `within_sources` is the intraclass correlation of correct predictions between images of one source. `design_effect`
    is the factor by which this correlation multiplies the variance of an accuracy (a negative correlation counts as 0).
    `worth_images` is the effective number of independent images. `images_per_source` is the mean, over images, of the
    number of images of the same source: Σ images²/Σ images. `with_original` is the correlation of correct predictions
    on the same image with the arm of `original`; the larger it is, the more precise is a paired comparison. All values
    are means over the seeds. A value is NaN if it cannot be computed: no source has two images, or a classifier is
    correct on all images or on none.
    """
    own = {(arm.split, arm.subset): arm for arm in arms if arm.trained_on == arm.tested_on == "original"}
    rows = []
    for arm in arms:
        sources = pd.factorize(arm.independent["source"])[0]
        sizes = np.bincount(sources)
        size = float((sizes**2).sum() / sizes.sum())
        within = np.mean([intraclass(correct, sources) for correct in arm.correct])
        effect = design_effect(size, float(np.maximum(within, 0)))
        original = own[arm.split, arm.subset]
        between = np.nan if arm is original else np.mean([*map(_same, arm.correct, original.correct)])
        names = (arm.split, arm.subset, arm.trained_on, arm.tested_on)
        known = [len(sizes), size, within, effect, len(sources) / effect] if arm.has_sources else [np.nan] * 5
        rows.append([*names, len(sources), *known, between])
    return pd.DataFrame(rows, columns=COLUMNS)


def intraclass(correct: npt.NDArray[np.bool_], sources: npt.NDArray[np.intp]) -> float:
    """The intraclass correlation from an analysis of variance (Donner, Int. Stat. Rev. 54, 1986, 67–82).

    `correct` and `sources` (numbered from 0) have the shape (images,). NaN if no source has two images or nothing
    varies.
    """
    sizes, values = np.bincount(sources), correct.astype(float)
    images, count = len(values), len(sizes)
    if count == images or count == 1 or values.std() == 0:
        return np.nan
    means = np.bincount(sources, values) / sizes
    between = (sizes * (means - values.mean()) ** 2).sum() / (count - 1)
    within = ((values - means[sources]) ** 2).sum() / (images - count)
    size = (images - (sizes**2).sum() / images) / (count - 1)
    return float((between - within) / (between + (size - 1) * within))


def design_effect(size: float, correlation: float) -> float:
    """The factor by which clusters of `size` images multiply a proportion's variance (Kish, Survey Sampling, 1965)."""
    return 1 + (size - 1) * correlation


def p_unpaired(right: int, other: int, images: int, effect: float = 1) -> float:
    """The two-sided p-value of two unpaired proportions of `images` each, from their pooled variance times `effect`.

    This test needs only confusion matrices, so it also applies to a study that published nothing else.
    """
    pooled = (right + other) / (2 * images)
    error = (2 * pooled * (1 - pooled) / images * effect) ** 0.5
    return float(2 * norm.sf(abs(right - other) / images / error))


def _same(correct: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    """The correlation of two arms over images; NaN if one of them does not vary."""
    return float(np.corrcoef(correct, other)[0, 1]) if correct.std() and other.std() else np.nan
