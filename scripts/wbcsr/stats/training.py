"""How much another training would change an accuracy: the shift that all images of one training share.

A training that came out well is better on many photographs at once, so its shift is not seen by resampling photographs.
Flips of single photographs between trainings are: they are a part of how photographs differ.
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

    `variance` is that, at least 0. `total` is the variance from which it was found, before that of independent flips
    was taken off, and `freedom` the degrees of freedom of `total`; they say how well `variance` is known.
    """

    variance: float = 0.0
    total: float = 0.0
    freedom: float = np.inf


def training_noise(
    arms: Sequence[npt.NDArray[np.bool_]], weights: Floats, sources: Indices, classes: Indices, folds: Indices
) -> Noise:
    """The noise in a difference of two arms that were trained apart, pooled over `arms`, one for each network.

    Each arm has booleans (seeds, images); `weights`, `sources`, `classes` and `folds` are (images,), the last three
    whole numbers from 0. A training belongs to an arm, a seed and a fold. With two seeds or
    more, the shift's variance is that of a fold's mean over the seeds, less the sum over sources of their own variances
    over the seeds: what is left are covariances between sources. With one seed and several folds, the products of
    different sources of one fold take their place, in the differences of two arms from their mean; with neither,
    nothing can be known, and the noise is 0 with 0 degrees of freedom.
    """
    if len(arms[0]) > 1:
        found = np.array([_over_seeds(arm.astype(float), weights, sources, folds) for arm in arms]).mean(axis=0)
        # The shifts of both arms, of the mean of so many seeds.
        shift, total = 2 * found / len(arms[0])
        return _noise(shift, total, len(arms) * (len(arms[0]) - 1), weights, folds)
    pairs = [arm[0].astype(float) - other[0] for arm, other in combinations(arms, 2)]
    if not pairs or folds.max() == 0:
        return Noise(freedom=0)
    shift, total = np.array([_over_folds(pair, weights, sources, classes, folds) for pair in pairs]).mean(axis=0)
    return _noise(shift, total, (len(arms) - 1) * folds.max() / (folds.max() + 1), weights, folds)


def shared_noise(difference: Floats, weights: Floats, sources: Indices, folds: Indices) -> Noise:
    """The noise in a difference of two arms that one network was tested in, from its own seeds.

    `difference` is (seeds, images), the right images of one arm minus those of the other. Otherwise as in
    `training_noise`.
    """
    if len(difference) < 2:
        return Noise(freedom=0)
    shift, total = _over_seeds(difference, weights, sources, folds) / len(difference)
    return _noise(shift, total, len(difference) - 1, weights, folds)


def _noise(shift: float, total: float, freedom_of_fold: float, weights: Floats, folds: Indices) -> Noise:
    """The noise of the mean over the folds, which are trained apart."""
    shares = (np.bincount(folds, weights) / weights.sum()) ** 2
    return Noise(float(max(shift, 0) * shares.sum()), float(total * shares.sum()), freedom_of_fold * len(shares))


def _over_seeds(values: Floats, weights: Floats, sources: Indices, folds: Indices) -> Floats:
    """The variance of the shift of one training, and the variance over the seeds that it is a part of."""
    sums, fold_of = _by_source(values, weights, sources, folds)
    means = np.array([np.bincount(fold_of, row) for row in sums])
    total = means.var(axis=0, ddof=1).mean()
    flips = np.bincount(fold_of, sums.var(axis=0, ddof=1)).mean()
    return np.array([total - flips, total])


def _over_folds(values: Floats, weights: Floats, sources: Indices, classes: Indices, folds: Indices) -> Floats:
    """The same of the differences (images,) of two arms of one seed, from how far the folds lie apart."""
    centred = values - (np.bincount(classes, weights * values) / np.bincount(classes, weights))[classes]
    (sums,), fold_of = _by_source(centred[None], weights, sources, folds)
    # The mean over the folds was taken off, and with it one part of so many of the variance of a fold's sum; the many
    # sources lose next to nothing by it.
    total = (np.bincount(fold_of, sums) ** 2).mean() * (folds.max() + 1) / folds.max()
    of_sources = np.bincount(fold_of, sums**2).mean()
    return np.array([total - of_sources, total])


def _by_source(values: Floats, weights: Floats, sources: Indices, folds: Indices) -> tuple[Floats, Indices]:
    """What each source adds to its fold's mean, (seeds, sources of folds), and the fold of each of these."""
    pairs, cells = np.unique(np.stack([folds, sources]), axis=1, return_inverse=True)
    shares = weights / np.bincount(folds, weights)[folds]
    return np.array([np.bincount(cells.ravel(), shares * row) for row in values]), pairs[0]
