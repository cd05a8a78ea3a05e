"""The power of a comparison: which differences its sources can detect, given how much the two arms differ on each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm, t

from wbcsr.stats.intervals import CONFIDENCE, Names
from wbcsr.stats.training import Noise

Floats = npt.NDArray[np.float64]

POWER = 0.8
# The differences for which the required number of sources is reported.
ASKED = (0.01, 0.02, 0.03)
SIMULATED = 1000


class Power(NamedTuple):
    """The power of a comparison; all values are NaN if the arms differ on no source.

    `detectable` is the smallest difference that is detected with 80 % power. `needed` is the number of sources that is
    required to detect each of `ASKED`; it is infinite if the noise of the trainings alone hides the difference.
    """

    detectable: float
    needed: tuple[float, ...]


def power(
    values: Floats,
    weights: Floats,
    sources: Names,
    classes: Names,
    freedom: float,
    noise: Noise,
    error: float = np.nan,
    asked: Sequence[float] = ASKED,
    random_seed: int = 0,
) -> Power:
    """The power of a comparison; `values` are its differences of each image. All four arrays have the shape (images,).

    `error` is the standard error of the interval of the difference, noise included. Its part over sources may be larger
    than the variance of these differences gives; they are then scaled to it. NaN leaves them as they are.

    The differences of the sources, less the mean of their class, are resampled with replacement; so is the noise of the
    trainings. A true difference counts as detected if it exceeds the resampled deviation by the critical number of
    standard errors (of the resampled sources; Student's t with `freedom` degrees of freedom). The number of sources
    required for a difference δ is (z₀.₉₇₅ + z₀.₈)² · variance of one source/δ² (Lachin, Control. Clin. Trials 2, 1981,
    93–113). This is 7.85 · ψ/δ² if each source has one image, which differs with probability ψ. The proportions of the
    classes are kept.
    """
    frame = pd.DataFrame({"weight": weights, "class": np.asarray(classes)}).assign(sum=weights * values)
    means = frame.groupby("class")["sum"].transform("sum") / frame.groupby("class")["weight"].transform("sum")
    source_of, names = pd.factorize(np.asarray(sources))
    # Their mean is 0; they are scaled so that the mean over the sources is their contribution to the difference.
    effects = np.bincount(source_of, weights * (values - means)) / weights.sum() * len(names)
    effects = effects.round(12)
    if not effects.any():
        return Power(np.nan, (np.nan,) * len(asked))
    if not np.isnan(error):
        effects *= ((error**2 - noise.variance) * len(effects) / effects.var(ddof=1)) ** 0.5
    random = np.random.default_rng(random_seed)
    errors, missed = np.zeros((2, SIMULATED))
    # One resample at a time: if every image is a source, a matrix of all resamples would not fit into memory.
    for number in range(SIMULATED):
        drawn = effects[random.integers(len(effects), size=len(effects))]
        errors[number] = (drawn.var(ddof=1) / len(effects) + noise.variance) ** 0.5
        missed[number] = drawn.mean() + noise.variance**0.5 * random.standard_normal()
    reach = t.ppf((1 + CONFIDENCE) / 2, freedom) * errors
    simulated = float(np.quantile([reach - missed, reach + missed], POWER))
    both = float(norm.ppf((1 + CONFIDENCE) / 2) + norm.ppf(POWER))
    of_one = float(effects.var(ddof=1))
    # If few sources differ, some resamples contain none of them and have too small an error, so the formula is a lower
    # limit.
    detectable = max(simulated, both * (of_one / len(effects) + noise.variance) ** 0.5)
    allowed = (np.array(asked) / both) ** 2 - noise.variance
    needed = [of_one / one if one > 0 else np.inf for one in allowed]
    # A difference of two shares cannot be larger than 1.
    return Power(detectable if detectable < 1 else np.nan, tuple(float(np.ceil(one)) for one in needed))
