"""Confidence intervals and tests for accuracies and differences when several images are duplicates of one source.

Predictions for images of one source are correlated, so the independent units are sources: intervals come from
resampling sources, and the test exchanges the two arms source by source. All values here are means over the trained
seeds, on images that every run classified. Changes of single sources between trainings are part of the variance between
sources and therefore in every interval. A change that a training causes on all sources at once is added as
`wbcsr.stats.training.Noise`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm, permutation_test, t
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from wbcsr.stats.training import Noise

CONFIDENCE = 0.95
RESAMPLES = 10_000

# In simulations with 14 to 155 sources and accuracies of 0.8 to 0.99, intervals under these rules cover the true value
# in 93 to 99 % of data sets for an accuracy, and in 95 to 100 % for a difference. Without the rules, intervals of a
# difference cover it in as few as 49 % with 4 sources, and in 84 % with 20 sources of which almost none differs;
# intervals of an accuracy with 4 sources cover it in 98 %, but span half of the scale or more. The test agrees with
# these limits: exchanging the arms of five sources cannot give a p-value below 2/2⁵.
LEAST_SOURCES = 10
LEAST_DIFFERING = 6
# Arms count as alike if they differ on at most this share of the sources.
ALIKE_SHARE = 0.05

NO_NOISE = Noise()

Booleans = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Names = Sequence[str] | npt.NDArray[np.str_]


class Reason(StrEnum):
    """Why there is no interval.

    `LONE_SOURCES`: no class has two sources. `FEW_SOURCES`: there are too few effective sources. `FEW_DIFFERING`: two
    arms differ on too few sources. `ALIKE`: they differ on at most `ALIKE_SHARE` of all sources.
    """

    NONE = ""
    LONE_SOURCES = "lone_sources"
    FEW_SOURCES = "few_sources"
    FEW_DIFFERING = "few_differing"
    ALIKE = "alike"


@dataclass(frozen=True)
class Estimate:
    """A share of images, or a difference of two shares, with the ends of its 95 % interval over sources.

    `low` and `high` are NaN if no valid interval can be given, and `reason` says why. `effective_sources` is the number
    of equally large sources that have the same information as the `sources`. `differing` is the number of sources on
    which two arms differ, NaN for a share. `error` is the standard error of a difference, NaN if it has no interval,
    with `freedom` degrees of freedom; both are NaN for a share.
    """

    value: float
    low: float
    high: float
    images: int
    sources: int
    effective_sources: float
    differing: float = np.nan
    reason: Reason = Reason.NONE
    error: float = np.nan
    freedom: float = np.nan

    def ends(self, confidence: float) -> tuple[float, float]:
        """The ends of a difference's interval at another confidence level; NaN if there is no interval."""
        half = float(t.ppf((1 + confidence) / 2, self.freedom)) * self.error
        return self.value - half, self.value + half

    @property
    def p_value(self) -> float:
        """The two-sided p-value of Student's t for a difference of 0; NaN if there is no interval."""
        return float(2 * t.sf(abs(self.value) / self.error, self.freedom)) if self.error > 0 else np.nan


@dataclass(frozen=True)
class Comparison:
    """Two arms on the same images: the share of each, their difference `a` minus `b`, and p-values.

    `p_sources` is the p-value over sources and trainings. `p_mcnemar` has McNemar's p-value of each seed.
    McNemar's test assumes independent images and gives too small a p-value if images share sources; it is reported in
    addition to the other test, never instead of it.
    """

    a: Estimate
    b: Estimate
    difference: Estimate
    p_sources: float
    p_mcnemar: tuple[float, ...]


@dataclass(frozen=True)
class _Design:
    """The source of each image, the class of each source (both as numbers from 0), and the weight of each image."""

    source_of: npt.NDArray[np.intp]
    class_of: npt.NDArray[np.intp]
    weight_of: Floats

    @property
    def sizes(self) -> Floats:
        """The weight of each source: the number of its images if all images have the same weight."""
        return np.bincount(self.source_of, self.weight_of).astype(float)

    @property
    def effective_sources(self) -> float:
        """Kish's effective number of equally large sources (Survey Sampling, 1965): 1/Σ share²."""
        return float(self.sizes.sum() ** 2 / (self.sizes**2).sum())


def wilson_interval(proportion: float, images: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion of `images` (Wilson, JASA 22, 1927, 209–212).

    The proportion may be a mean over several runs, so it need not be a whole number of images. `images` may be an
    effective number of independent images, so it need not be a whole number either.
    """
    return proportion_confint(proportion * images, images, 1 - confidence, method="wilson")


def macro_weights(sources: Names, classes: Names) -> Floats:
    """The weights (images,) with which the weighted share of correct images is the macro recall over sources.

    All classes have the same weight, all sources within a class, and all images of a class within a source. If a source
    shows several classes, it counts in each of them. The weights sum to 1. `sources` and `classes` have the shape
    (images,).
    """
    table = pd.DataFrame({"source": np.asarray(sources), "class": np.asarray(classes)})
    images = table.groupby(["class", "source"])["class"].transform("size")
    units = table.groupby("class")["source"].transform("nunique")
    return (1 / (images * units * table["class"].nunique())).to_numpy()


def accuracy_interval(
    correct: Booleans, sources: Names, classes: Names, random_seed: int = 0, weights: Floats | None = None
) -> Estimate:
    """The share of correct images, averaged over the seeds, with its interval over sources.

    `correct` is boolean (seeds, images). `sources`, `classes` and `weights` have the shape (images,); `macro_weights`
    gives such weights, and without weights all images count the same. The classes are strata of sources: a source that
    shows cells of several classes belongs to the class of most of its images. Raises ValueError if shapes differ or an
    image has no source.

    The interval is Wilson's (JASA 22, 1927), with p(1 − p)/variance as the number of images, as is usual for survey
    samples (Dean and Pagano, J. Surv. Stat. Methodol. 3, 2015), and with Student's t. The variance comes from a
    bootstrap that draws one source fewer than each class has (Rao and Wu, JASA 83, 1988); every class keeps its share
    of the images. It is at least the variance that follows from the components between and within sources, pooled over
    the classes (Searle et al., Variance Components, 1992): a class with four sources that happen to be all correct
    would otherwise have no variance. The degrees of freedom are those of a sum of squares with the observed kurtosis
    (Satterthwaite, Biometrics Bulletin 2, 1946), so two sources that hold all errors count as two. If nothing varies,
    each effective source counts as one image. There is no interval with fewer than `LEAST_SOURCES` effective sources.
    """
    design = _design(correct, sources, classes, weights)
    return _share(correct.mean(axis=0), design, random_seed)


def mean_interval(
    values: Floats, sources: Names, classes: Names, random_seed: int = 0, weights: Floats | None = None
) -> Estimate:
    """The mean of values (images,), each a score from 0 to 1, with its interval; see `accuracy_interval`."""
    return _share(values, _design(np.ones((1, len(values)), bool), sources, classes, weights), random_seed)


def compare(
    correct_a: Booleans,
    correct_b: Booleans,
    sources: Names,
    classes: Names,
    random_seed: int = 0,
    weights: Floats | None = None,
    noise: Noise = NO_NOISE,
) -> Comparison:
    """Two arms on the same images: shares, difference and p-values; arguments as in `accuracy_interval`.

    The interval of the difference is ± t standard errors, both computed as in `accuracy_interval`; it tends to be too
    wide rather than too narrow. The `noise` of the trainings is added to the variance, and the degrees of freedom are
    those of the sum (Satterthwaite). There is no interval with fewer than `LEAST_SOURCES` effective sources, or if the
    arms differ on fewer than `LEAST_DIFFERING` sources.

    `p_sources` is two-sided, and the larger of two p-values. One comes from exchanging the arms on whole sources
    (Fisher's randomisation test; Good, Permutation Tests, 2000), which is exact but holds for these trainings only. It
    uses all exchanges if at most 13 sources differ, and otherwise a random sample, with 1 added to the count (Phipson
    and Smyth, Stat. Appl. Genet. Mol. Biol. 9, 2010). The other is Student's, from the interval's standard error: it
    includes the trainings, and is at least 0.05 whenever the 95 % interval contains 0. Without an interval, there is
    only the first.
    `p_mcnemar` is exact (McNemar, Psychometrika 12, 1947).
    """
    if correct_a.shape != correct_b.shape:
        raise ValueError(f"arms of {correct_a.shape} and {correct_b.shape} (seeds, images) cannot be compared")
    design = _design(correct_a, sources, classes, weights)
    _design(correct_b, sources, classes, weights)
    balance = correct_a.sum(axis=0) - correct_b.sum(axis=0)
    # Whole numbers, or rounded ones, so that equal differences compare as equal.
    scaled = balance if weights is None else balance * weights / weights.max()
    by_source = np.bincount(design.source_of, scaled).round(9)
    differing = by_source[by_source != 0]
    difference = _difference(balance / len(correct_a), differing.size, design, random_seed, noise)
    return Comparison(
        a=_share(correct_a.mean(axis=0), design, random_seed),
        b=_share(correct_b.mean(axis=0), design, random_seed),
        difference=difference,
        p_sources=float(np.nanmax([_sign_flip(differing, random_seed), difference.p_value])),
        p_mcnemar=tuple(_mcnemar(a, b) for a, b in zip(correct_a, correct_b, strict=True)),
    )


def holm(p_values: pd.Series) -> pd.Series:
    """The p-values of a family of comparisons, corrected to control the family-wise error rate (Holm).

    Holm, Scand. J. Stat. 6, 1979. Raises ValueError if a p-value is missing, because the family's size is then unclear.
    """
    if not p_values.between(0, 1).all():
        raise ValueError("a p-value is missing or not between 0 and 1")
    return pd.Series(multipletests(p_values, method="holm")[1], index=p_values.index)


def _design(correct: Booleans, sources: Names, classes: Names, weights: Floats | None = None) -> _Design:
    if correct.ndim != 2 or correct.dtype != bool or not correct.size:
        raise ValueError(f"needs booleans (seeds, images), got {correct.dtype} {correct.shape}")
    if not len(sources) == len(classes) == correct.shape[1]:
        raise ValueError(f"{correct.shape[1]} images have {len(sources)} sources and {len(classes)} classes")
    table = pd.DataFrame({"source": np.asarray(sources), "class": np.asarray(classes)})
    if table["source"].isna().any() or (table["source"] == "").any():
        raise ValueError("an image has no source")
    source_of, _ = pd.factorize(table["source"])
    # The sources have numbers in the order of their first image, and the rows of this table have the same order.
    counts = pd.crosstab(source_of, table["class"])
    weight_of = np.ones(len(table)) if weights is None else weights
    return _Design(source_of, pd.factorize(counts.idxmax(axis=1))[0], weight_of)


def _share(values: Floats, design: _Design, random_seed: int) -> Estimate:
    """The mean of values (images,) from 0 to 1."""
    mean = float(np.average(values, weights=design.weight_of))
    counts = (len(values), len(design.sizes), design.effective_sources)
    if reason := _too_few(design):
        return Estimate(mean, np.nan, np.nan, *counts, reason=reason)
    variance = _variance(values, design, random_seed)
    # A variance this small is only rounding error.
    varies = variance > 1e-12
    worth = min(mean * (1 - mean) / variance, len(values)) if varies else design.effective_sources
    # At this confidence, the normal quantile equals Student's quantile at the wanted confidence.
    confidence = float(2 * norm.cdf(_quantile(values, design)) - 1)
    low, high = wilson_interval(mean, worth, confidence)
    return Estimate(mean, low, high, *counts)


def _difference(values: Floats, differing: int, design: _Design, random_seed: int, noise: Noise = NO_NOISE) -> Estimate:
    """The mean of differences (images,) from −1 to 1."""
    mean = float(np.average(values, weights=design.weight_of))
    counts = (len(values), len(design.sizes), design.effective_sources, float(differing))
    reason = _too_few(design)
    if not reason and differing < LEAST_DIFFERING:
        reason = Reason.ALIKE if differing <= ALIKE_SHARE * len(design.sizes) else Reason.FEW_DIFFERING
    freedom = _freedom(values, design)
    if reason:
        return Estimate(mean, np.nan, np.nan, *counts, reason, freedom=freedom)
    of_sources = _variance(values, design, random_seed)
    variance = of_sources + noise.variance
    if noise.variance:
        freedom = variance**2 / (of_sources**2 / freedom + noise.total**2 / noise.freedom)
    half = float(t.ppf((1 + CONFIDENCE) / 2, freedom)) * variance**0.5
    low, high = max(-1.0, mean - half), min(1.0, mean + half)
    return Estimate(mean, low, high, *counts, error=variance**0.5, freedom=freedom)


def _too_few(design: _Design) -> Reason:
    if len(design.sizes) == len(np.unique(design.class_of)):
        return Reason.LONE_SOURCES
    return Reason.FEW_SOURCES if design.effective_sources < LEAST_SOURCES else Reason.NONE


def _residuals(values: Floats, design: _Design) -> Floats:
    """The contribution of each source to the mean, less the mean of its class (sources,)."""
    sizes, sums = design.sizes, np.bincount(design.source_of, values * design.weight_of)
    means = np.bincount(design.class_of, sums) / np.bincount(design.class_of, sizes)
    return (sums - means[design.class_of] * sizes) / sizes.sum()


def _freedom(values: Floats, design: _Design) -> float:
    """The degrees of freedom, 2/(Σe⁴/(Σe²)² − 1/sources), at most the effective sources − 1.

    They are twice the squared variance, divided by the variance of that variance.
    """
    squares = _residuals(values, design) ** 2
    freedom = design.effective_sources - 1
    if squares.any():
        concentration = (squares**2).sum() / squares.sum() ** 2 - 1 / len(squares)
        freedom = min(freedom, 2 / max(concentration, 1e-9))
    return float(freedom)


def _quantile(values: Floats, design: _Design) -> float:
    """Student's quantile for the degrees of freedom of `_freedom`."""
    return float(t.ppf((1 + CONFIDENCE) / 2, _freedom(values, design)))


def _variance(values: Floats, design: _Design, random_seed: int) -> float:
    """The variance of the mean of values (images,): the larger of the two that `accuracy_interval` describes."""
    return max(_bootstrap_variance(values, design, random_seed), _component_variance(values, design))


def _bootstrap_variance(values: Floats, design: _Design, random_seed: int) -> float:
    random = np.random.default_rng(random_seed)
    sizes, sums = design.sizes, np.bincount(design.source_of, values * design.weight_of)
    means = np.zeros(RESAMPLES)
    for number in range(design.class_of.max() + 1):
        of = design.class_of == number
        class_sums, class_sizes = sums[of], sizes[of]
        drawn_sums, drawn_sizes = np.zeros(RESAMPLES), np.zeros(RESAMPLES)
        # One draw of all resamples at a time: if every image is a source, a matrix of all draws would not fit into
        # memory.
        for _ in range(max(len(class_sizes) - 1, 1)):
            drawn = random.integers(len(class_sizes), size=RESAMPLES)
            drawn_sums += class_sums[drawn]
            drawn_sizes += class_sizes[drawn]
        means += class_sizes.sum() / sizes.sum() * drawn_sums / drawn_sizes
    return float(means.var())


def _component_variance(values: Floats, design: _Design) -> float:
    """The variance of the mean from an analysis of variance of sources within classes (unequal sizes, Searle 1992).

    The components are estimated with equal weights of all images; the weights enter through Σ share² of sources and
    images.
    """
    images, sizes, classes = len(values), np.bincount(design.source_of), design.class_of.max() + 1
    plain = _Design(design.source_of, design.class_of, np.ones(images))
    sums = np.bincount(design.source_of, values)
    between = ((_residuals(values, plain) * images) ** 2 / sizes).sum() / (len(sizes) - classes)
    within = ((values - (sums / sizes)[design.source_of]) ** 2).sum() / max(images - len(sizes), 1)
    by_class = np.bincount(design.class_of, sizes**2) / np.bincount(design.class_of, sizes)
    size = (images - by_class.sum()) / (len(sizes) - classes)
    of_sources = max(between - within, 0) / size
    of_images = (design.weight_of**2).sum() / design.weight_of.sum() ** 2
    return float(of_sources / design.effective_sources + within * of_images)


def _sign_flip(differences: Floats, random_seed: int) -> float:
    """The p-value of the sum of differences, which are whole numbers; shape: (sources that differ,)."""
    # With a single source, both signs are equally extreme.
    if differences.size < 2:
        return 1.0
    found = permutation_test(
        (differences,),
        np.sum,
        permutation_type="samples",
        vectorized=True,
        # If there are at most so many flips, SciPy takes all of them instead of a random sample.
        n_resamples=RESAMPLES - 1,
        # Flips at a time: with thousands of sources, all flips at once would need gigabytes.
        batch=max(1, 1_000_000 // differences.size),
        rng=np.random.default_rng(random_seed),
    )
    return float(found.pvalue)


def _mcnemar(a: Booleans, b: Booleans) -> float:
    table = np.array([[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]])
    return float(mcnemar(table, exact=True).pvalue)
