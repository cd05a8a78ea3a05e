from __future__ import annotations

import itertools
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, bootstrap, norm, t
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, roc_auc_score

from wbcsr.stats import intervals as statistics
from wbcsr.stats.calibration import calibration, curves
from wbcsr.stats.intervals import (
    Reason,
    accuracy_interval,
    compare,
    holm,
    wilson_interval,
)

DATA_SETS = 400
# Sources of each class, and images per class: a source has 1 to 30 images (None), or, as in the study's TEST, a class
# has 620.
FOUR_CLASSES = ((4, 20, 30, 60), None)
STUDY = ((4, 6, 13, 48), 620)
ONE_CLASS = ((20,), None)


def booleans(*rows: str) -> np.ndarray:
    """`10` → correct, wrong; a row for each seed."""
    return np.array([[mark == "1" for mark in row] for row in rows])


def drawn(
    structure: tuple[tuple[int, ...], int | None], accuracies: tuple[float, float], random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two arms with predictions correlated within a source and between the arms: a, b, sources, classes.

    An image is correct if a normal variable is below the quantile of the accuracy. Half of its variance belongs to the
    source, and 0.7 of each half is common to the arms.
    """
    counts, images = structure
    sizes = [random.integers(1, 31, size=count) if images is None else [images // count] * count for count in counts]
    sources = np.repeat(np.arange(sum(counts)), np.concatenate(sizes))
    classes = np.repeat(np.arange(len(counts)), counts)[sources]

    def normal(count: int) -> np.ndarray:
        return 0.7**0.5 * random.standard_normal(count) + 0.3**0.5 * random.standard_normal((2, count))

    latent = (normal(sum(counts))[:, sources] + normal(len(sources))) / 2**0.5
    a, b = latent < norm.ppf(accuracies)[:, None]
    return a[None], b[None], sources, classes


def as_nominal(covered: int, probability: float = 0.95) -> bool:
    """Whether `covered` of `DATA_SETS` is compatible with `probability`, with a significance level of 1/5,000."""
    low, high = binom.ppf([1e-4, 1 - 1e-4], DATA_SETS, probability)
    return bool(low <= covered <= high)


def test_a_comparison_equals_a_calculation_by_hand() -> None:
    a, b = booleans("1110", "1100"), booleans("1000", "1100")
    found = compare(a, b, ["s", "s", "u", "u"], ["A"] * 4)
    assert (found.a.value, found.b.value, found.difference.value) == (5 / 8, 3 / 8, 2 / 8)
    assert (found.a.images, found.a.sources) == (4, 2)
    # Each source has one image: of the sign combinations ++, +−, −+ and −−, two are as extreme.
    assert found.p_sources == 0.5
    assert found.p_mcnemar == (0.5, 1.0)


@pytest.mark.parametrize(
    ("hits", "images", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_intervals_equal_newcombes_published_ones(hits: int, images: int, low: float, high: float) -> None:
    """Newcombe, Stat. Med. 17, 1998, 857–872, Table I, method 3."""
    assert wilson_interval(hits / images, images) == pytest.approx((low, high), abs=6e-5)


def test_wilson_intervals_stay_between_0_and_1() -> None:
    """Rounding would violate this: if 21 of 21 images are wrong, the lower end is computed as −1·10⁻¹⁷."""
    ends = [wilson_interval(proportion, images) for proportion in (0, 1) for images in range(1, 200)]
    assert np.min(ends) == 0
    assert np.max(ends) == 1


def test_mcnemar_is_computed_for_each_seed() -> None:
    a, b = booleans("111110", "111111"), booleans("000001", "111111")
    found = compare(a, b, list("uvwxyz"), ["A"] * 6)
    assert found.p_mcnemar == pytest.approx((2 * (1 + 6) / 2**6, 1.0))


@pytest.mark.parametrize(
    ("differences", "p"), [([], 1), ([3], 1), ([2, -1, 1], 6 / 8), ([1] * 6, 2 / 64), ([1] * 13, 2 / 2**13)]
)
def test_sign_flips_equal_a_calculation_by_hand(differences: list[float], p: float) -> None:
    assert statistics._sign_flip(np.array(differences, float), 0) == pytest.approx(p)


def test_random_sign_flips_agree_with_all_sign_flips() -> None:
    differences = np.array([5, -3, 4, 1, 2, -2, 6, 1, -1, 3, 2, -4, 1, 2], float)
    flips = np.array(list(itertools.product([-1, 1], repeat=len(differences))))
    exact = (np.abs(flips @ differences) >= differences.sum()).mean()
    found = statistics._sign_flip(differences, 0)
    assert found == pytest.approx(exact, abs=4 * (exact * (1 - exact) / statistics.RESAMPLES) ** 0.5)
    assert found != exact


def test_the_memory_for_random_flips_does_not_grow_with_the_number_of_sources() -> None:
    """All flips of 1,000 differences at once would be 80 MB for each copy; SciPy needs several."""
    tracemalloc.start()
    statistics._sign_flip(np.random.default_rng(0).choice([-1.0, 1.0], 1000), 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 80_000_000


def test_the_p_value_of_random_flips_is_not_below_its_resolution() -> None:
    assert statistics._sign_flip(np.ones(200), 0) == pytest.approx(2 / statistics.RESAMPLES)


def test_holm_equals_a_calculation_by_hand() -> None:
    found = holm(pd.Series({"x": 0.01, "y": 0.04, "z": 0.03}))
    assert found.to_dict() == pytest.approx({"x": 0.03, "y": 0.06, "z": 0.06})


@pytest.mark.parametrize("wrong", [np.nan, 1.5, -0.1])
def test_an_invalid_p_value_is_rejected(wrong: float) -> None:
    with pytest.raises(ValueError, match="p-value is missing"):
        holm(pd.Series([0.01, wrong]))


def test_with_one_image_per_source_the_error_equals_scipy() -> None:
    random = np.random.default_rng(3)
    a, b = random.random((2, 1, 300)) < [[[0.9]], [[0.8]]]
    found = compare(a, b, np.arange(300), ["A"] * 300).difference
    difference = a[0].astype(float) - b[0]
    reference = bootstrap((difference,), np.mean, method="basic", rng=np.random.default_rng(0))
    residuals = difference - difference.mean()
    freedom = 2 / ((residuals**4).sum() / (residuals**2).sum() ** 2 - 1 / 300)
    half = t.ppf(0.975, min(freedom, 299)) * reference.standard_error
    # The standard deviation of 10,000 numbers has an error of 0.7 %, and the difference of two such an error of 1 %.
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.04)
    assert found.high + found.low == pytest.approx(2 * difference.mean())


def test_copies_of_an_image_do_not_narrow_the_interval() -> None:
    a, b, *_ = drawn(((40,), 40), (0.8, 0.5), np.random.default_rng(1))
    once = compare(a, b, np.arange(40), ["A"] * 40)
    copied = compare(a.repeat(25, axis=1), b.repeat(25, axis=1), np.arange(40).repeat(25), ["A"] * 1000)
    assert (copied.a.low, copied.a.high) == pytest.approx((once.a.low, once.a.high))
    assert (copied.difference.low, copied.difference.high) == pytest.approx((once.difference.low, once.difference.high))
    assert copied.p_sources == once.p_sources
    assert copied.p_mcnemar < once.p_mcnemar


def test_every_class_keeps_its_share_in_resampling() -> None:
    """If classes differ and nothing varies within them, sources count as images: 40, with 39 degrees of freedom."""
    correct = np.arange(400)[None] < 200
    found = accuracy_interval(correct, np.arange(400) // 10, np.where(correct[0], "A", "B"))
    confidence = 2 * norm.cdf(t.ppf(0.975, 39)) - 1
    assert (found.low, found.high) == pytest.approx(wilson_interval(0.5, 40, confidence))


def test_an_accuracy_of_1_still_has_an_interval() -> None:
    found = accuracy_interval(np.ones((2, 300), bool), np.arange(300) // 10, ["A"] * 300)
    assert found.high == pytest.approx(1)
    assert 0.85 < found.low < 0.9


def test_variance_components_equal_the_textbook_formula() -> None:
    """Balanced: between 2 sources of 3 images (sum of squares 2/3), within 4/3 with 4 degrees; sizes are 3."""
    values = np.array([1, 1, 0, 0, 0, 1], float)
    design = statistics._design(values[None] == 1, list("sssuuu"), ["A"] * 6)
    between, within = 3 * 2 * (1 / 6) ** 2 / 1, (2 / 3 + 2 / 3) / 4
    assert between < within  # so the whole variance is within sources
    assert statistics._component_variance(values, design) == pytest.approx(within / 6)
    values = np.array([1, 1, 1, 0, 0, 1], float)
    between, within = 3 * 2 * (1 / 3) ** 2, (2 / 3) / 4
    expected = (between - within) / 3 / 2 + within / 6
    assert statistics._component_variance(values, design) == pytest.approx(expected)


def test_variance_components_of_unequal_sources_equal_the_textbook_formula() -> None:
    """Searle et al., Variance Components, 1992: two classes with two sources each, of 1, 3, 2 and 2 images."""
    values = np.array([1, 1, 1, 1, 0, 0, 1, 0], float)
    sources, classes = list("stttuuvv"), list("AAAABBBB")
    design = statistics._design(values[None] == 1, sources, classes)
    # The means of the classes are 1 and 1/4, and those of the sources 1, 1, 0 and 1/2.
    between = (2 * (1 / 4) ** 2 + 2 * (1 / 4) ** 2) / 2
    within = (1 / 2) / 4
    assert between == within  # so sources do not differ
    assert statistics._component_variance(values, design) == pytest.approx(within / 8)
    values = np.array([0, 1, 1, 1, 0, 0, 1, 0], float)
    between = ((3 / 4) ** 2 + 3 * (1 / 4) ** 2 + 1 / 4) / 2
    size = (8 - (1 + 9) / 4 - (4 + 4) / 4) / 2
    effective = 8**2 / (1 + 9 + 4 + 4)
    expected = (between - within) / size / effective + within / 8
    assert statistics._component_variance(values, design) == pytest.approx(expected)


def test_resampling_gives_the_variance_of_a_stratified_sample() -> None:
    """Sources of one size in classes of 2, 3 and 5: Σ share² · variance of the sources/their number (Cochran, 1977)."""
    means = [[0, 1], [0.5, 1, 0], [1, 1, 0.5, 0, 0.5]]
    values = np.concatenate([np.repeat(of_class, 2) for of_class in means])
    sources = np.arange(10).repeat(2)
    design = statistics._design(values[None] > 0, sources, np.repeat(list("ABC"), [4, 6, 10]))
    expected = sum((len(of) / 10) ** 2 * np.var(of, ddof=1) / len(of) for of in means)
    assert statistics._bootstrap_variance(values, design, 0) == pytest.approx(expected, rel=0.05)


def test_degrees_of_freedom_equal_a_calculation_by_hand() -> None:
    """If two of forty sources hold all errors, there are between 4 and 5 degrees of freedom; equal sources give 39."""
    sources = np.arange(40).repeat(10)
    design = statistics._design(np.ones((1, 400), bool), sources, ["A"] * 400)
    wrong = (sources >= 2).astype(float)
    fourth, second = 2 * 0.95**4 + 38 * 0.05**4, 2 * 0.95**2 + 38 * 0.05**2
    freedom = 2 / (fourth / second**2 - 1 / 40)
    assert 4 < freedom < 5
    assert statistics._quantile(wrong, design) == pytest.approx(t.ppf(0.975, freedom))
    half = (sources % 2).astype(float)
    assert statistics._quantile(half, design) == pytest.approx(t.ppf(0.975, 39))


def test_the_interval_depends_on_the_correlation_within_sources() -> None:
    """Forty sources of ten images; half are correct on all images, half on six: the variance gives 156 images."""
    sources = np.arange(400) // 10
    correct = (np.arange(400) % 10 < np.where(sources % 2, 10, 6))[None]
    found = accuracy_interval(correct, sources, ["A"] * 400)
    worth = 0.8 * 0.2 / (0.2**2 / 39)
    confidence = 2 * norm.cdf(t.ppf(0.975, 39)) - 1
    assert (found.low, found.high) == pytest.approx(wilson_interval(0.8, worth, confidence), abs=0.002)


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer resamples, which suffice for a mean over many data sets."""
    monkeypatch.setattr(statistics, "RESAMPLES", 200)


@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize(
    ("structure", "accuracies"),
    [(FOUR_CLASSES, (0.9, 0.88)), (FOUR_CLASSES, (0.99, 0.98)), (STUDY, (0.9, 0.88)), (ONE_CLASS, (0.8, 0.75))],
)
def test_intervals_have_their_nominal_coverage(
    structure: tuple[tuple[int, ...], int | None], accuracies: tuple[float, float]
) -> None:
    random = np.random.default_rng(0)
    truth = accuracies[0] - accuracies[1]
    counts = {"accuracy": 0, "difference": 0, "Wilson’s over images": 0, "Wald’s over images": 0}
    given = 0
    for number in range(DATA_SETS):
        a, b, sources, classes = drawn(structure, accuracies, random)
        design = statistics._design(a, sources, classes)
        share = statistics._share(a[0].astype(float), design, number)
        values = a[0].astype(float) - b[0]
        difference = statistics._difference(values, np.count_nonzero(np.bincount(sources, values)), design, number)
        low, high = wilson_interval(share.value, share.images)
        half = 1.96 * (values.var() / len(values)) ** 0.5
        counts["accuracy"] += share.low <= accuracies[0] <= share.high
        # Without an interval, there is no false claim.
        counts["difference"] += bool(difference.reason) or difference.low <= truth <= difference.high
        counts["Wilson’s over images"] += low <= accuracies[0] <= high
        counts["Wald’s over images"] += abs(difference.value - truth) <= half
        given += not difference.reason
    assert {name: as_nominal(count) for name, count in counts.items()} == {
        "accuracy": True,
        "difference": True,
        # Intervals that treat images as independent fail the same test.
        "Wilson’s over images": False,
        "Wald’s over images": False,
    }, counts
    assert given > 0.95 * DATA_SETS


@pytest.mark.usefixtures("few_resamples")
def test_false_positive_rate_of_shuffled_variants_is_five_percent() -> None:
    random = np.random.default_rng(0)
    by_sources = by_images = 0
    for number in range(DATA_SETS):
        a, b, sources, classes = drawn(STUDY, (0.9, 0.8), random)
        # The variants are exchanged at random for each source, so only chance differences remain.
        swapped = (random.random(sources.max() + 1) < 0.5)[sources]
        shuffled_a, shuffled_b = np.where(swapped, b, a), np.where(swapped, a, b)
        found = compare(shuffled_a, shuffled_b, sources, classes, number)
        by_sources += found.p_sources <= 0.05
        by_images += found.p_mcnemar[0] <= 0.05
    assert as_nominal(by_sources, 0.05), by_sources
    assert not as_nominal(by_images, 0.05), by_images
    assert by_images > 0.3 * DATA_SETS


def test_a_true_difference_is_detected() -> None:
    a, b, sources, classes = drawn(FOUR_CLASSES, (0.95, 0.7), np.random.default_rng(0))
    found = compare(a, b, sources, classes)
    assert found.p_sources < 0.001
    assert found.difference.low > 0.1


@pytest.mark.parametrize(
    ("sources", "classes", "reason", "worth"),
    [
        (["s"] * 60, ["A"] * 60, "lone_sources", 1),
        (np.arange(60) // 10, np.arange(60) // 10, "lone_sources", 6),
        (np.arange(60) // 15, ["A"] * 60, "few_sources", 4),
        (np.arange(60) // 6, ["A"] * 60, "", 10),
        (np.minimum(np.arange(60), 30), ["A"] * 60, "few_sources", 60**2 / (30 + 30**2)),
    ],
)
def test_too_few_sources_have_no_interval_but_a_reason(
    sources: np.ndarray, classes: list[str], reason: str, worth: float
) -> None:
    correct = np.arange(60)[None] % 5 > 0
    found = accuracy_interval(correct, sources, classes)
    assert found.value == 0.8
    assert found.reason == reason
    assert found.effective_sources == pytest.approx(worth)
    if reason:
        assert np.isnan([found.low, found.high]).all()
    else:
        assert found.low < 0.8 < found.high


@pytest.mark.parametrize(("differing", "given"), [(0, False), (1, False), (5, False), (6, True)])
def test_arms_that_differ_on_few_sources_have_no_interval(differing: int, given: bool) -> None:
    a = np.ones((1, 300), bool)
    b = a.copy()
    b[0, : 10 * differing : 10] = False
    found = compare(a, b, np.arange(300) // 10, ["A"] * 300)
    assert found.difference.value == pytest.approx(differing / 300)
    assert (found.difference.reason == "") == given
    assert np.isfinite([found.difference.low, found.difference.high]).tolist() == [given, given]
    if not given:
        assert (found.difference.differing, found.difference.sources) == (differing, 30)
        # A thirtieth of the sources counts as alike; a sixth does not.
        assert found.difference.reason == (Reason.ALIKE if differing <= 1 else Reason.FEW_DIFFERING)
    assert found.p_sources == (min(1, 2 / 2**differing))


def test_intervals_of_a_difference_stay_between_minus_1_and_1() -> None:
    a = np.ones((1, 30), bool)
    b = np.arange(30)[None] == 0
    sources, classes = np.arange(30), ["A"] * 30
    assert compare(a, b, sources, classes).difference.high == 1
    assert compare(b, a, sources, classes).difference.low == -1


def test_with_too_few_sources_even_a_difference_on_all_has_no_interval() -> None:
    found = compare(np.ones((1, 80), bool), np.arange(80)[None] % 10 > 0, np.arange(80) // 10, ["A"] * 80).difference
    assert np.isnan([found.low, found.high]).all()
    assert (found.reason, found.effective_sources) == (Reason.FEW_SOURCES, 8)


def test_the_same_random_seed_gives_the_same_result() -> None:
    a, b, sources, classes = drawn(FOUR_CLASSES, (0.9, 0.88), np.random.default_rng(0))
    first, again, other = (compare(a, b, sources, classes, seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert accuracy_interval(b, sources, classes, 1) == first.b
    assert first.difference.low == pytest.approx(other.difference.low, abs=0.003)


def test_the_order_of_images_does_not_matter() -> None:
    a, b, sources, classes = drawn(FOUR_CLASSES, (0.9, 0.88), np.random.default_rng(0))
    order = np.random.default_rng(1).permutation(len(sources))
    found = compare(a[:, order], b[:, order], sources[order], classes[order])
    expected = compare(a, b, sources, classes)
    assert found.difference.low == pytest.approx(expected.difference.low, abs=0.003)
    assert found.p_mcnemar == expected.p_mcnemar


def test_resampling_the_studys_images_takes_less_than_a_second() -> None:
    a, _, sources, classes = drawn(STUDY, (0.9, 0.88), np.random.default_rng(0))
    begun = time.process_time()
    accuracy_interval(a, sources, classes)
    assert time.process_time() - begun < 1


def test_a_source_of_two_classes_counts_as_one_source() -> None:
    """It belongs to the class of most of its images, so the result is the same as with all its images in that class."""
    sources = [f"s{number // 4}" for number in range(80)]
    classes = ["A"] * 40 + ["B"] * 40
    correct = np.random.default_rng(0).random((2, 80)) < 0.8
    mixed = ["B", *classes[1:]]
    one, other = (accuracy_interval(correct, sources, names) for names in (mixed, classes))
    assert (one, one.sources) == (other, 20)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"correct_b": booleans("11", "10")}, "cannot be compared"),
        ({"correct_a": booleans("11")[0], "correct_b": booleans("11")[0]}, "needs booleans"),
        ({"correct_b": np.array([[1.0, 0.0]])}, "needs booleans"),
        ({"correct_a": np.zeros((1, 0), bool), "correct_b": np.zeros((1, 0), bool)}, "needs booleans"),
        ({"sources": ["s"]}, "2 images have 1 sources and 2 classes"),
        ({"classes": ["A"] * 3}, "2 images have 2 sources and 3 classes"),
        ({"sources": ["s", ""]}, "an image has no source"),
        ({"sources": pd.Series(["s", None])}, "an image has no source"),
    ],
)
def test_arms_that_cannot_be_compared_are_rejected(change: dict[str, object], words: str) -> None:
    arguments = {
        **{"correct_a": booleans("11"), "correct_b": booleans("10")},
        **{"sources": ["s", "t"], "classes": ["A", "A"]},
    }
    with pytest.raises(ValueError, match=words):
        compare(**{**arguments, **change})


def test_calibration_equals_a_calculation_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.5, 0.5], [1.0, 0.0]])
    found = calibration(probabilities, ["A", "B", "B", "A", "A"], ["A", "B"], bins=5)
    assert list(found.table) == ["low", "high", "images", "confidence", "accuracy"]
    assert found.table["images"].dtype.kind == "i"
    assert found.table["images"].tolist() == [0, 0, 1, 2, 2]
    assert found.table["confidence"].tolist()[2:] == pytest.approx([0.5, 0.75, 0.95])
    assert found.table["accuracy"].tolist()[2:] == [1, 0.5, 1]
    assert found.table.loc[:1, ["confidence", "accuracy"]].isna().all(axis=None)
    assert found.table[["low", "high"]].iloc[2].tolist() == pytest.approx([0.4, 0.6])
    assert found.error == pytest.approx((1 * 0.5 + 2 * 0.25 + 2 * 0.05) / 5)


@pytest.mark.parametrize(
    ("row", "in_bin"),
    [
        ([1 + 5e-7, 0], 14),
        ([0.05] * 20, 0),
        ([0.3333] * 3, 4),
    ],  # rounded to above 1; one of many classes; read from a file
)
def test_every_confidence_has_its_bin(row: list[float], in_bin: int) -> None:
    found = calibration(np.array([row]), ["0"], [str(number) for number in range(len(row))])
    assert found.table["images"].tolist() == [number == in_bin for number in range(15)]


def drawn_probabilities(images: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of three classes, and classes drawn from them: a perfectly calibrated classifier."""
    random = np.random.default_rng(0)
    probabilities = random.dirichlet([0.5] * 3, size=images)
    chosen = (random.random(images)[:, None] > probabilities.cumsum(axis=1)).sum(axis=1)
    return probabilities, np.array(list("ABC"))[chosen]


def test_calibration_agrees_with_scikit_learn_and_is_small_for_a_calibrated_classifier() -> None:
    probabilities, actual = drawn_probabilities(20_000)
    found = calibration(probabilities, actual, list("ABC"))
    right = np.array(list("ABC"))[probabilities.argmax(axis=1)] == actual
    accuracy, confidence = calibration_curve(right, probabilities.max(axis=1), n_bins=15, strategy="uniform")
    filled = found.table[found.table["images"] > 0]
    assert filled["accuracy"].tolist() == pytest.approx(accuracy)
    assert filled["confidence"].tolist() == pytest.approx(confidence)
    assert found.table["images"].sum() == 20_000
    assert found.error < 0.01


def test_areas_equal_a_calculation_by_hand() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.1])
    found = curves(np.column_stack([scores, 1 - scores]), ["A", "B", "A", "B"], ["A", "B"])
    assert list(found) == ["A", "B"]
    # Three of the four pairs of an A and a B are ranked correctly; precision is 1 at the first A and 2/3 at the second.
    assert found["A"].area == found["B"].area == 0.75
    assert found["A"].average_precision == pytest.approx((1 + 2 / 3) / 2)
    assert found["A"].roc[["false_positive_rate", "true_positive_rate"]].iloc[[0, -1]].to_numpy().tolist() == [
        [0, 0],
        [1, 1],
    ]
    assert found["A"].precision_recall.iloc[-1].to_dict() == {"recall": 0, "precision": 1}
    assert found["A"].roc["threshold"].tolist() == [np.inf, 0.9, 0.8, 0.7, 0.1]


def test_areas_equal_scikit_learn() -> None:
    probabilities, actual = drawn_probabilities(500)
    for number, (name, curve) in enumerate(curves(probabilities, actual, list("ABC")).items()):
        assert curve.area == pytest.approx(roc_auc_score(actual == name, probabilities[:, number]))
        expected = average_precision_score(actual == name, probabilities[:, number])
        assert curve.average_precision == pytest.approx(expected)


@pytest.mark.parametrize("function", [calibration, curves])
@pytest.mark.parametrize(
    ("probabilities", "actual", "words"),
    [
        ([[0.5, np.nan], [0.5, 0.5]], "AB", "a probability is missing"),
        ([[1.5, -0.5], [0.5, 0.5]], "AB", "a probability is missing"),
        ([[1.0005, 0], [0.5, 0.5]], "AB", "a probability is missing"),
        ([[0.5, 0.4], [0.5, 0.5]], "AB", "do not sum to 1"),
        ([[0.5, 0.5]], "AB", r"2 images of 2 classes have probabilities \(1, 2\)"),
        ([[1.0], [1.0]], "AB", r"2 images of 2 classes have probabilities \(2, 1\)"),
        ([[0.5, 0.5], [0.5, 0.5]], "AC", "'C' is not among the classes"),
    ],
)
def test_invalid_probabilities_are_rejected(
    function: Callable[..., object], probabilities: list[list[float]], actual: str, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        function(np.array(probabilities), list(actual), ["A", "B"])


@pytest.mark.parametrize(("actual", "found"), [("AA", []), ("CC", []), ("AB", ["A", "B"]), ("BC", ["B", "C"])])
def test_a_class_of_all_or_no_images_has_no_curve(actual: str, found: list[str]) -> None:
    assert list(curves(np.full((2, 3), 1 / 3), list(actual), ["A", "B", "C"])) == found
