"""The variation of an accuracy between trainings: a shift that all images of one training share.

A training that happens to succeed better is better on many photographs at once, so resampling photographs does not show
its shift. It does show changes of single photographs between trainings: they are part of the variance between
photographs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Noise:
    """What the shifts of the trainings add to the variance of a difference.

    `variance` is this addition, at least 0. `total` is the variance from which it was computed by subtracting the
    variance of independent changes, and `freedom` is the number of degrees of freedom of `total`. They say how precise
    `variance` is.
    """

    variance: float = 0.0
    total: float = 0.0
    freedom: float = np.inf


def training_noise(
    arms: Sequence[npt.NDArray[np.bool_]], weights: Floats, sources: Indices, classes: Indices, folds: Indices
) -> Noise:
    """The noise in a difference of two arms that were trained separately, pooled over `arms`, one for each network.

    Each arm has booleans (seeds, images). `weights`, `sources`, `classes` and `folds` have the shape (images,), and the
    last three are numbers from 0. There is one training for each arm, seed and fold. With two or more seeds, the
    variance of the shift is the variance of a fold's mean over the seeds, less the sum over sources of their own
    variances over the seeds; this leaves the covariances between sources. With one seed and several folds, it comes
    from products of different sources of one fold, in the differences of two arms from their mean. With one seed and
    one fold nothing can be estimated: the noise is 0, with 0 degrees of freedom.
    """
    if len(arms[0]) > 1:
        found = np.array([_over_seeds(arm.astype(float), weights, sources, folds) for arm in arms]).mean(axis=0)
        # The factor 2 counts the shifts of both arms; a mean over the seeds divides by their number.
        shift, total = 2 * found / len(arms[0])
        return _noise(shift, total, len(arms) * (len(arms[0]) - 1), weights, folds)
    pairs = [arm[0].astype(float) - other[0] for arm, other in combinations(arms, 2)]
    if not pairs or folds.max() == 0:
        return Noise(freedom=0)
    shift, total = np.array([_over_folds(pair, weights, sources, classes, folds) for pair in pairs]).mean(axis=0)
    return _noise(shift, total, (len(arms) - 1) * folds.max() / (folds.max() + 1), weights, folds)


def shared_noise(difference: Floats, weights: Floats, sources: Indices, folds: Indices) -> Noise:
    """The noise in a difference of two arms that used the same network, from the seeds of that network.

    `difference` has the shape (seeds, images): the correct images of one arm minus those of the other. The other
    arguments are as in `training_noise`.
    """
    if len(difference) < 2:
        return Noise(freedom=0)
    shift, total = _over_seeds(difference, weights, sources, folds) / len(difference)
    return _noise(shift, total, len(difference) - 1, weights, folds)


def _noise(shift: float, total: float, freedom_of_fold: float, weights: Floats, folds: Indices) -> Noise:
    """The noise of the mean over the folds, which are trained separately."""
    shares = (np.bincount(folds, weights) / weights.sum()) ** 2
    return Noise(float(max(shift, 0) * shares.sum()), float(total * shares.sum()), freedom_of_fold * len(shares))


def _over_seeds(values: Floats, weights: Floats, sources: Indices, folds: Indices) -> Floats:
    """The variance of the shift of one training, and the variance over the seeds of which it is a part."""
    sums, fold_of = _by_source(values, weights, sources, folds)
    means = np.array([np.bincount(fold_of, row) for row in sums])
    total = means.var(axis=0, ddof=1).mean()
    flips = np.bincount(fold_of, sums.var(axis=0, ddof=1)).mean()
    return np.array([total - flips, total])


def _over_folds(values: Floats, weights: Floats, sources: Indices, classes: Indices, folds: Indices) -> Floats:
    """As `_over_seeds`, but for differences (images,) of two arms of one seed, from the variation over the folds."""
    centred = values - (np.bincount(classes, weights * values) / np.bincount(classes, weights))[classes]
    (sums,), fold_of = _by_source(centred[None], weights, sources, folds)
    # The mean over the folds was subtracted, which reduces the variance of a fold's sum by the factor (folds −
    # 1)/folds. The same reduction for the many sources is negligible.
    total = (np.bincount(fold_of, sums) ** 2).mean() * (folds.max() + 1) / folds.max()
    of_sources = np.bincount(fold_of, sums**2).mean()
    return np.array([total - of_sources, total])


def _by_source(values: Floats, weights: Floats, sources: Indices, folds: Indices) -> tuple[Floats, Indices]:
    """The contribution of each source to its fold's mean (seeds, sources of folds), and the folds of these sources."""
    pairs, cells = np.unique(np.stack([folds, sources]), axis=1, return_inverse=True)
    shares = weights / np.bincount(folds, weights)[folds]
    return np.array([np.bincount(cells.ravel(), shares * row) for row in values]), pairs[0]
