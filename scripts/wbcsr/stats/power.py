"""What a comparison of so many sources can find, from how much the two arms differ on each source."""

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
# The differences for which the number of sources is given.
ASKED = (0.01, 0.02, 0.03)
SIMULATED = 1000


class Power(NamedTuple):
    """`detectable`: the smallest difference that is found with 80 % power. `needed`: how many sources each of `ASKED`
    needs, infinite where the noise of the trainings alone hides it. NaN where the arms differ on no source."""

    detectable: float
    needed: tuple[float, ...]


def power(
    values: Floats,
    weights: Floats,
    sources: Names,
    classes: Names,
    freedom: float,
    noise: Noise,
    asked: Sequence[float] = ASKED,
    random_seed: int = 0,
) -> Power:
    """The power of a comparison whose differences of each image are `values`; all of these are (images,).

    The differences of the sources, less the mean of their class, are drawn again with replacement, as many as there
    are, and so is the noise of the trainings: a true difference is found where it lies so many standard errors (those
    of the drawn sources, with Student's t of `freedom` degrees of freedom) above what was drawn. The number of sources
    that a difference δ needs is (z₀.₉₇₅ + z₀.₈)² · variance of one source/δ² (Lachin, Control. Clin. Trials 2, 1981,
    93–113): 7.85 · ψ/δ² where each has one image, which differs with chance ψ. The mix of classes stays.
    """
    frame = pd.DataFrame({"weight": weights, "class": np.asarray(classes)}).assign(sum=weights * values)
    means = frame.groupby("class")["sum"].transform("sum") / frame.groupby("class")["weight"].transform("sum")
    source_of, names = pd.factorize(np.asarray(sources))
    # Of mean 0, and so large that their mean over the sources is what they add to the difference.
    effects = np.bincount(source_of, weights * (values - means)) / weights.sum() * len(names)
    effects = effects.round(12)
    if not effects.any():
        return Power(np.nan, (np.nan,) * len(asked))
    random = np.random.default_rng(random_seed)
    errors, missed = np.zeros((2, SIMULATED))
    # One resample at a time: a matrix of all would not fit where every image is a source.
    for number in range(SIMULATED):
        drawn = effects[random.integers(len(effects), size=len(effects))]
        errors[number] = (drawn.var(ddof=1) / len(effects) + noise.variance) ** 0.5
        missed[number] = drawn.mean() + noise.variance**0.5 * random.standard_normal()
    reach = t.ppf((1 + CONFIDENCE) / 2, freedom) * errors
    simulated = float(np.quantile([reach - missed, reach + missed], POWER))
    both = float(norm.ppf((1 + CONFIDENCE) / 2) + norm.ppf(POWER))
    of_one = float(effects.var(ddof=1))
    # Where few sources differ, samples have none of them, and look surer than they are: never below the formula.
    detectable = max(simulated, both * (of_one / len(effects) + noise.variance) ** 0.5)
    allowed = (np.array(asked) / both) ** 2 - noise.variance
    needed = [of_one / one if one > 0 else np.inf for one in allowed]
    # No difference of two shares is larger than 1.
    return Power(detectable if detectable < 1 else np.nan, tuple(float(np.ceil(one)) for one in needed))
