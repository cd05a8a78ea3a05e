"""Verdicts, equivalence, power, noise of trainings and correlation, compared with independent computations."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, norm
from sklearn.metrics import balanced_accuracy_score, f1_score
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.proportion import proportion_confint, proportions_ztest
from statsmodels.stats.weightstats import DescrStatsW

from simulations import coverage, trained
from wbcsr.stats import intervals, power, verdicts
from wbcsr.stats.correlation import design_effect, intraclass, p_unpaired
from wbcsr.stats.endpoints import f1_interval
from wbcsr.stats.intervals import Estimate, Reason, accuracy_interval, compare, macro_weights
from wbcsr.stats.training import Noise, shared_noise, training_noise
from wbcsr.stats.verdicts import Verdict
from wbcsr.study import published

# The number of photographs of each class in the study's archive.
PHOTOGRAPHS = [83, 29, 18, 191]


def one_image_each(random: np.random.Generator, discordance: float, difference: float, sources: int) -> np.ndarray:
    """Two arms (2, 1, sources) that differ on a share `discordance` of the sources and in accuracy by `difference`."""
    up, down = (discordance + difference) / 2, (discordance - difference) / 2
    kind = random.choice(3, p=[up, down, 1 - up - down], size=sources)
    both = random.random(sources) < 0.9
    return np.array([[np.where(kind == 2, both, kind == 0)], [np.where(kind == 2, both, kind == 1)]])


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 200)


def test_macro_recall_with_one_image_per_source_equals_scikit_learn() -> None:
    random = np.random.default_rng(0)
    actual, predicted = random.choice(list("AABBBC"), (2, 60))
    weights = macro_weights(np.arange(60), actual)
    found = accuracy_interval((actual == predicted)[None], np.arange(60), actual, weights=weights)
    assert found.value == pytest.approx(balanced_accuracy_score(actual, predicted))
    assert found.low < found.value < found.high


def test_macro_recall_equals_a_calculation_by_hand() -> None:
    """A has three sources, with three, one and one images, and B one with two; then s shows both classes."""
    weights = macro_weights(list("ssstuvv"), list("AAAAABB"))
    assert weights == pytest.approx([1 / 18] * 3 + [1 / 6] * 2 + [1 / 4] * 2)
    assert macro_weights(list("ssu"), list("ABB")) == pytest.approx([1 / 2, 1 / 4, 1 / 4])


def test_the_variance_of_macro_recall_is_that_of_a_stratified_sample() -> None:
    """Cochran, Sampling Techniques, 1977: Σ (1/classes)² · variance of a class's sources/their number."""
    random = np.random.default_rng(0)
    classes = np.repeat(list("ABCD"), PHOTOGRAPHS)
    correct = random.random((1, len(classes))) < 0.8
    design = intervals._design(
        correct, np.arange(len(classes)), classes, macro_weights(np.arange(len(classes)), classes)
    )
    expected = sum(np.var(correct[0, classes == name], ddof=1) / (classes == name).sum() / 16 for name in "ABCD")
    assert intervals._bootstrap_variance(correct[0].astype(float), design, 0) == pytest.approx(expected, rel=0.05)


@pytest.mark.usefixtures("few_resamples")
def test_the_interval_of_macro_recall_has_its_nominal_coverage() -> None:
    random, covered = np.random.default_rng(0), 0
    classes, recalls = np.repeat(range(4), PHOTOGRAPHS), np.array([0.85, 0.95, 0.8, 0.9])
    sources = np.arange(len(classes)).repeat(4)
    weights = macro_weights(sources, classes.repeat(4))
    for _ in range(200):
        latent = (random.standard_normal(len(classes)).repeat(4) + random.standard_normal(len(sources))) / 2**0.5
        correct = latent < norm.ppf(recalls)[classes.repeat(4)]
        found = accuracy_interval(correct[None], sources, classes.repeat(4), weights=weights)
        covered += found.low <= recalls.mean() <= found.high
    assert 0.92 <= covered / 200 <= 0.985


def test_macro_f1_equals_scikit_learn_and_its_interval_a_bootstrap() -> None:
    random = np.random.default_rng(1)
    classes = np.repeat(list("ABC"), [80, 120, 160])
    sources = np.array([f"{number // 4}" for number in range(360)])
    predicted = np.where(random.random(360) < 0.75, classes, random.choice(list("ABC"), 360))
    found = f1_interval(predicted[None].astype(object), sources, classes, list("ABC"), np.ones(360))
    assert found.value == pytest.approx(f1_score(classes, predicted, average="macro"))
    drawn = []
    for _ in range(400):
        picked = np.concatenate([random.choice(part, len(part)) for part in np.split(np.arange(90), [20, 50])])
        images = (picked[:, None] * 4 + np.arange(4)).ravel()
        drawn.append(f1_score(classes[images], predicted[images], average="macro"))
    assert (found.high - found.low) / 2 == pytest.approx(1.99 * np.std(drawn), rel=0.15)


def test_equivalence_equals_tost_of_statsmodels() -> None:
    a, b = one_image_each(np.random.default_rng(0), 0.1, 0.0, 400)
    found = compare(a, b, np.arange(400), ["A"] * 400).difference
    reference = DescrStatsW(a[0].astype(float) - b[0]).ttost_mean(-0.03, 0.03)[0]
    assert verdicts.p_equivalence(found, 0.03) == pytest.approx(reference, rel=0.15)
    low, high = found.ends(0.9)
    assert (verdicts.p_equivalence(found, 0.03) < 0.05) == (low > -0.03 and high < 0.03)
    assert verdicts.p_equivalence(found, 0.001) > 0.05
    assert found.ends(0.95) == pytest.approx((found.low, found.high))


@pytest.mark.usefixtures("few_resamples")
def test_arms_that_differ_by_the_margin_are_called_equivalent_in_five_percent() -> None:
    random, wrong, right = np.random.default_rng(0), 0, 0
    for number, difference in enumerate([-0.03] * 400 + [0.0] * 100):
        a, b = one_image_each(random, 0.08, difference, 1000)
        balance = a[0].astype(float) - b[0]
        design = intervals._design(a, np.arange(1000), ["A"] * 1000)
        found = intervals._difference(balance, np.count_nonzero(balance), design, number)
        equivalent = verdicts.find(found, 1.0, 0.03, 1.0) is Verdict.EQUIVALENT
        wrong += equivalent and difference != 0
        right += equivalent and difference == 0
    assert binom.ppf(1e-4, 400, 0.05) <= wrong <= binom.ppf(1 - 1e-4, 400, 0.05)
    assert right > 0.85 * 100


@pytest.mark.parametrize(
    ("value", "error", "p_value", "expected"),
    [
        (0.05, 0.01, 0.01, "higher"),
        (-0.05, 0.01, 0.01, "lower"),
        (0.05, 0.01, 0.06, "non_inferior"),
        (0.0, 0.01, 0.9, "equivalent"),
        (0.015, 0.01, 0.2, "non_inferior"),
        (-0.015, 0.01, 0.2, "no_detectable_difference"),
        (0.0, 0.03, 0.9, "no_detectable_difference"),
    ],
)
def test_the_verdict_follows_from_interval_test_and_margin(
    value: float, error: float, p_value: float, expected: str
) -> None:
    half = 1.96 * error
    estimate = Estimate(value, value - half, value + half, 300, 300, 300, 30, error=error, freedom=1e6)
    assert verdicts.find(estimate, p_value, 0.03, 1.0) == expected
    claims = expected != "no_detectable_difference"
    assert [verdicts.judged(Verdict(expected), seeds) for seeds in (1, 2, 3)] == [
        "provisional" if claims else expected,
        "provisional" if claims else expected,
        expected,
    ]


@pytest.mark.parametrize(
    ("reason", "bound", "expected"),
    [
        (Reason.LONE_SOURCES, 0.01, "unknown"),
        (Reason.FEW_SOURCES, 0.01, "unknown"),
        (Reason.ALIKE, 0.02, "equivalent"),
        (Reason.ALIKE, 0.04, "no_detectable_difference"),
        (Reason.FEW_DIFFERING, 0.2, "no_detectable_difference"),
    ],
)
def test_without_an_interval_the_bound_decides(reason: Reason, bound: float, expected: str) -> None:
    estimate = Estimate(0.0, np.nan, np.nan, 300, 300, 300, 3, reason)
    assert verdicts.judged(verdicts.find(estimate, 1.0, 0.03, bound), 1) == (
        "provisional" if expected == "equivalent" else expected
    )
    assert verdicts.find(estimate, 1.0, 0.03, bound) == expected


@pytest.mark.parametrize(("count", "of"), [(0, 305), (3, 305), (15, 305), (7, 20)])
def test_the_largest_share_equals_clopper_pearson_of_statsmodels(count: int, of: int) -> None:
    assert verdicts.largest_share(count, of) == pytest.approx(proportion_confint(count, of, 0.1, method="beta")[1])
    assert verdicts.largest_share(of, of) == 1


def test_the_number_of_required_sources_equals_the_formula() -> None:
    """7.85 · ψ/δ²: for ψ = 0.08, detecting 2.4 points needs 1,090 photographs with one image each."""
    values = np.zeros(1000)
    values[:40], values[40:80] = 1, -1
    found = power.power(values, np.ones(1000), np.arange(1000), ["A"] * 1000, 999, Noise(), asked=(0.024, 0.01))
    assert found.needed == pytest.approx((7.85 * 0.08 / 0.024**2, 7.85 * 0.08 / 0.01**2), rel=0.005)
    assert found.needed[0] == pytest.approx(1090, abs=3)
    assert found.detectable == pytest.approx((7.85 * 0.08 / 1000) ** 0.5, rel=0.05)


@pytest.mark.usefixtures("few_resamples")
def test_simulated_power_equals_the_predicted_power() -> None:
    random, found = np.random.default_rng(0), 0
    for number in range(200):
        a, b = one_image_each(random, 0.08, 0.024, 1090)
        balance = a[0].astype(float) - b[0]
        design = intervals._design(a, np.arange(1090), ["A"] * 1090)
        found += intervals._difference(balance, np.count_nonzero(balance), design, number).low > 0
    assert binom.ppf(1e-3, 200, 0.8) <= found <= binom.ppf(1 - 1e-3, 200, 0.8)


def test_power_follows_from_the_standard_error_of_the_interval() -> None:
    """A standard error twice that of the differences doubles the detectable difference."""
    values = np.tile([1.0, -1, 0, 0, 0], 200)
    data = (values, np.ones(1000), np.arange(1000), ["A"] * 1000, 999, Noise())
    plain, wide = (power.power(*data, error=factor * (values.var(ddof=1) / 1000) ** 0.5) for factor in (1, 2))
    assert plain == power.power(*data)
    assert wide.detectable == pytest.approx(2 * plain.detectable, rel=1e-6)
    assert wide.needed == pytest.approx([4 * one for one in plain.needed], rel=1e-3)


def test_arms_that_never_differ_have_no_power() -> None:
    found = power.power(np.zeros(30), np.ones(30), np.arange(30), ["A"] * 30, 29, Noise())
    assert np.isnan([found.detectable, *found.needed]).all()


def test_noise_that_hides_a_difference_needs_more_trainings() -> None:
    values = np.tile([1.0, -1, 0, 0, 0], 40)
    found = power.power(values, np.ones(200), np.arange(200), ["A"] * 200, 199, Noise(0.01**2, 0.01**2, 10))
    assert found.needed[:2] == (np.inf, np.inf)
    assert np.isfinite(found.needed[2])


def test_noise_of_trainings_equals_a_calculation_by_hand() -> None:
    """If both sources change together over two seeds, all variance is that of the trainings; otherwise, none is."""
    together, apart = np.array([[1, 1, 0], [0, 0, 0]]) == 1, np.array([[1, 0, 0], [0, 1, 0]]) == 1
    weights, codes = np.ones(3), (np.arange(3), np.zeros(3, int), np.zeros(3, int))
    found = training_noise([together, together], weights, *codes)
    # The means are 2/3 and 0, with variance 2/9; each image has 1/3 and 0, with variance 1/18, twice. Two arms, two
    # seeds.
    assert found.total == pytest.approx(2 / 9)
    assert found.variance == pytest.approx(2 / 9 - 2 / 18)
    assert found.freedom == 2
    assert training_noise([apart, apart], weights, *codes) == Noise(0, 0, 2)
    # One network on two kinds of images gives half of this, because there is one difference for each seed.
    shared = shared_noise(together.astype(float), weights, codes[0], codes[2])
    assert shared.variance == pytest.approx((2 / 9 - 2 / 18) / 2)


def test_noise_that_cannot_be_estimated_is_zero() -> None:
    one = np.ones((1, 4), bool)
    folds = np.zeros(4, int)
    assert training_noise([one, ~one], np.ones(4), np.arange(4), folds, folds) == Noise(0, 0, 0)
    assert shared_noise(one.astype(float), np.ones(4), np.arange(4), folds) == Noise(0, 0, 0)


@pytest.mark.parametrize(("seeds", "shift"), list(itertools.product((1, 3), (0.0, 0.03))))
def test_the_shift_of_a_training_is_estimated_without_bias(seeds: int, shift: float) -> None:
    random = np.random.default_rng(0)
    found = []
    for _ in range(300):
        drawn = trained(random, [305], [1], seeds, shift, (0.9, 0.88))
        values = [drawn.a, drawn.b]
        noise = training_noise(values, np.ones(305), drawn.sources, drawn.classes, drawn.folds)
        found.append(noise.variance)
    expected = 2 * shift**2 / seeds / 5
    # Estimates below 0 are set to 0, so their mean is too large.
    assert expected * 0.85 <= np.mean(found) <= expected * 1.5 + 0.4 * 0.09 / 305


@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize(("seeds", "images", "shift"), [(3, 4, 0.03), (1, 1, 0.03), (3, 1, 0.0)])
def test_intervals_with_the_noise_of_trainings_have_their_nominal_coverage(
    seeds: int, images: int, shift: float
) -> None:
    found = coverage(200, [images], seeds, shift)
    # The standard error of a share of 200 data sets is 1.5 points.
    assert 0.91 <= found["with"] <= 0.99
    assert found["without"] < 0.91 or shift == 0


def test_the_correlation_within_sources_equals_an_analysis_of_variance() -> None:
    random = np.random.default_rng(0)
    sources = np.repeat(np.arange(40), random.integers(1, 9, 40))
    correct = random.random(len(sources)) < np.where(random.random(40) < 0.5, 0.95, 0.6)[sources]
    table = anova_lm(ols("y ~ C(s)", pd.DataFrame({"y": correct.astype(float), "s": sources})).fit())
    between, within = table["mean_sq"]
    sizes = np.bincount(sources)
    size = (sizes.sum() - (sizes**2).sum() / sizes.sum()) / 39
    assert intraclass(correct, sources) == pytest.approx((between - within) / (between + (size - 1) * within))
    assert np.isnan([intraclass(correct, np.arange(len(sources))), intraclass(sources >= 0, sources)]).all()


def test_the_studys_difference_is_not_significant_with_correlated_images() -> None:
    """For independent images p = 0.009; with 19.7 images per photograph and correlation 0.1 or 0.3, not significant."""
    original, enhanced = (int(np.trace(published.matrix(name))) for name in ("original", "realesrgan_x4"))
    images = published.VALIDATION_IMAGES
    alone = p_unpaired(original, enhanced, images)
    assert alone == pytest.approx(proportions_ztest([original, enhanced], [images] * 2)[1])
    assert alone == pytest.approx(0.009, abs=0.0005)
    found = [
        p_unpaired(original, enhanced, images, design_effect(published.VALIDATION_IMAGES_PER_SOURCE, correlation))
        for correlation in (0.1, 0.3)
    ]
    assert found == pytest.approx([0.125, 0.31], abs=0.005)
