"""A comparison may be interpreted only if the controls before it found an effect."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from results import Results, arms_of, write_results
from test_differences import err
from wbcsr.present.tables.controls import controls_table
from wbcsr.stats.controls import COLUMNS, controls, sequence, share_of_gain
from wbcsr.stats.intervals import Estimate, Reason

VARIANTS = ["original", "bicubic_x4", "realesrgan_x4", "ceiling", "sharpened_x4", "reduced_x4"]


def study(folder: Path, errors: dict[str, int], variants: list[str], seeds: tuple[int, ...] = (0, 1, 2)) -> Results:
    """Each variant's classifiers are wrong on so many of 40 sources of each class."""
    results = write_results(folder, ["A", "B"], variants, seeds=seeds, per_class=40)
    for variant, number in errors.items():
        for seed in seeds:
            for name, other in ("AB", "BA"):
                images = [f"TEST/{name}/{image}.png" for image in range(10, 10 + number)]
                err(results, f"{variant}/seed{seed}/{variant}.csv", images, other)
    return results


@pytest.mark.parametrize(
    ("errors", "found", "interpretable"),
    [
        # A loss is seen, and the photograph is better than bicubic interpolation.
        ({"reduced_x4": 12, "bicubic_x4": 12}, ["higher", "higher"], ["yes", "yes", "yes"]),
        # A loss is seen, but the photograph does not help.
        ({"reduced_x4": 12}, ["higher", "no_detectable_difference"], ["yes", "yes", "no"]),
        # No loss is seen: a gain of the photograph opens nothing.
        ({"bicubic_x4": 12}, ["no_detectable_difference", "higher"], ["yes", "no", "no"]),
        # Reduced images are better, which is no loss.
        ({"original": 12, "bicubic_x4": 12}, ["lower", "higher"], ["yes", "no", "no"]),
    ],
)
def test_each_step_opens_the_next(
    tmp_path: Path, errors: dict[str, int], found: list[str], interpretable: list[str]
) -> None:
    results = study(tmp_path, errors, [name for name in VARIANTS if name != "sharpened_x4"])
    table = controls(arms_of(results), results.plan)
    assert table["step"].tolist() == ["positive", "ceiling", "primary"]
    assert table[["variant", "against"]].to_numpy().tolist() == [
        ["original", "reduced_x4"],
        ["ceiling", "bicubic_x4"],
        ["realesrgan_x4", "original"],
    ]
    assert table["finding"].tolist()[:2] == found
    assert table["interpretable"].tolist() == interpretable
    difference = (errors.get("reduced_x4", 0) - errors.get("original", 0)) / 40
    assert table["metric_difference"][0] == pytest.approx(difference)
    # Without Holm's correction: the smallest p-value that these sign flips can give.
    assert table["p_metric"].min() < 0.001


def test_fewer_than_three_trainings_stay_provisional(tmp_path: Path) -> None:
    variants = ["original", "realesrgan_x4", "reduced_x4"]
    results = study(tmp_path, {"reduced_x4": 12}, variants, seeds=(0,))
    table = controls(arms_of(results), results.plan)
    assert table[["finding", "verdict"]].iloc[0].tolist() == ["higher", "provisional"]
    assert table["interpretable"].tolist() == ["yes", "yes"]


@pytest.mark.parametrize(
    ("variants", "steps"),
    [
        (["original", "bicubic_x4", "realesrgan_x4"], []),
        (["original", "realesrgan_x4", "reduced_x4", "reduced_x2"], ["original reduced_x4", "realesrgan_x4 original"]),
        (["original", "realesrgan_x4", "ceiling"], ["ceiling original", "realesrgan_x4 original"]),
        (["original", "bicubic_x4", "bicubic_x2", "ceiling"], ["ceiling bicubic_x2", "ceiling original"]),
    ],
)
def test_the_order_follows_from_the_configuration(tmp_path: Path, variants: list[str], steps: list[str]) -> None:
    plan = write_results(tmp_path, ["A", "B"], variants).plan
    assert [f"{variant} {against}" for _, variant, against in sequence(plan)] == steps


def test_the_share_of_the_gain_that_sharpening_gives(tmp_path: Path) -> None:
    """Bicubic loses 16 of 40 sources of each class, sharpening brings 8 of them back, Real-ESRGAN all."""
    errors = {"bicubic_x4": 16, "sharpened_x4": 8}
    variants = ["original", "bicubic_x4", "realesrgan_x4", "sharpened_x4"]
    results = study(tmp_path, errors, variants)
    (row,) = controls(arms_of(results), results.plan).to_dict("records")
    assert (row["step"], row["variant"], row["against"]) == ("sharpening", "sharpened_x4", "bicubic_x4")
    assert row["metric_difference"] == pytest.approx(8 / 40)
    assert row["share"] == pytest.approx(0.5)
    # A bootstrap of the sources of each class.
    random = np.random.default_rng(0)
    part, gain = np.zeros((2, 5000))
    for _ in "AB":
        drawn = random.integers(40, size=(5000, 40))
        part += ((drawn >= 10) & (drawn < 10 + 8)).mean(axis=1) / 2
        gain += ((drawn >= 10) & (drawn < 10 + 16)).mean(axis=1) / 2
    low, high = np.quantile(part / gain, [0.025, 0.975])
    assert (row["share_low"], row["share_high"]) == pytest.approx((low, high), abs=0.08)
    assert row["interpretable"] == "yes"


def test_without_a_gain_there_is_no_share(tmp_path: Path) -> None:
    variants = ["original", "bicubic_x4", "realesrgan_x4", "sharpened_x4"]
    results = study(tmp_path, {"sharpened_x4": 12}, variants)
    table = controls(arms_of(results), results.plan)
    assert table["interpretable"].tolist() == ["no"]
    assert table[["share", "share_low", "share_high"]].isna().all(axis=None)
    assert "not estimable" in controls_table(table).cells["share"][0]


def estimate(value: float, error: float, reason: Reason = Reason.NONE) -> Estimate:
    return Estimate(value, np.nan, np.nan, 100, 100, 100.0, 50.0, reason, error, 1e6)


def test_the_interval_of_a_share_is_fiellers() -> None:
    """Of two independent estimates 2 ± 0.5 and 4 ± 0.5: shares s for which 2 − 4 s is within 1.96 errors of zero."""
    found = share_of_gain(estimate(2, 0.5), estimate(4, 0.5), estimate(-2, 0.5**0.5))
    assert found.value == 0.5
    for end in (found.low, found.high):
        assert abs(2 - 4 * end) / (0.25 + 0.25 * end**2) ** 0.5 == pytest.approx(1.96, abs=0.01)
    assert found.low < found.value < found.high
    for gain in (estimate(0.9, 0.5), estimate(4, 0.5, Reason.FEW_SOURCES)):
        assert np.isnan(share_of_gain(estimate(2, 0.5), gain, estimate(1.1, 0.5**0.5))).all()


def test_without_controls_the_table_is_empty(tmp_path: Path) -> None:
    results = write_results(tmp_path, ["A", "B"], ["original", "realesrgan_x4"])
    table = controls(arms_of(results), results.plan)
    assert table.empty
    assert table.columns.tolist() == COLUMNS
    assert controls_table(table).caption.startswith("Empty")


def test_only_the_split_of_the_answer_counts(tmp_path: Path) -> None:
    results = study(tmp_path, {"reduced_x4": 12}, ["original", "realesrgan_x4", "reduced_x4"])
    test = [arm for arm in arms_of(results) if arm.subset == "test"]
    pd.testing.assert_frame_equal(controls(arms_of(results), results.plan), controls(test, results.plan))
