from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from legible import LONG_NAMES, assert_legible
from results import arms_of, write_results
from wbcsr.errors import InputError
from wbcsr.present.figures.curves import draw_curves, draw_reliability
from wbcsr.present.style import PAGE_HEIGHT, STYLE, house_style, save_figure
from wbcsr.stats.calibration import (
    GRID,
    Probabilities,
    calibrations,
    matched_arms,
    mean_precision,
    mean_roc,
)

CLASSES = ["EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL"]
VARIANTS = ["original", "bicubic_x4", "lanczos_x4", "realesrgan_x4"]


def arm(
    by_seed: dict[int, list[list[float]]], actual: str, classes: Sequence[str] = "AB", variant: str = "original"
) -> Probabilities:
    arrays = {f"seed {seed}": np.array(probabilities) for seed, probabilities in by_seed.items()}
    return Probabilities("paper", variant, variant, "test", list(classes), np.array(list(actual)), arrays)


def row_of(group: Probabilities) -> pd.Series:
    return calibrations([group]).iloc[0]


def drawn_arms(classes: list[str], per_class: int = 60, variants: Sequence[str] = VARIANTS) -> list[Probabilities]:
    """Arms that recognise their classes to different degrees, with two seeds each."""
    random = np.random.default_rng(0)
    actual = np.repeat(np.arange(len(classes)), per_class)
    truth = np.eye(len(classes))[actual]
    found = []
    for number, variant in enumerate(variants):
        logits = (4 - number % 4) * truth + random.normal(size=(2, *truth.shape))
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
        by_run = {f"seed {seed}": rows for seed, rows in enumerate(probabilities)}
        found.append(Probabilities("paper", variant, variant, "test", classes, np.array(classes)[actual], by_run))
    return found


def test_calibration_error_of_three_images_equals_a_calculation_by_hand() -> None:
    # 0.95 is correct, 0.93 wrong and 0.6 correct, and each is in its own bin: 14/15 is 0.933.
    row = row_of(arm({0: [[0.95, 0.05], [0.07, 0.93], [0.6, 0.4]]}, "AAA"))
    assert row["ece"] == pytest.approx((0.05 + 0.93 + 0.4) / 3)
    assert row["confidence"] == pytest.approx((0.95 + 0.93 + 0.6) / 3)
    assert row["accuracy"] == pytest.approx(2 / 3)
    assert row["images"] == 3


def test_brier_score_and_log_loss_equal_scikit_learn_and_are_means_over_the_seeds() -> None:
    [group] = drawn_arms(list("ABC"), per_class=20, variants=["original"])
    row, runs = row_of(group), group.by_run.values()
    score = [brier_score_loss(group.actual, run, labels=list("ABC"), scale_by_half=False) for run in runs]
    assert row["brier"] == pytest.approx(np.mean(score))
    assert row["log_loss"] == pytest.approx(np.mean([log_loss(group.actual, run, labels=list("ABC")) for run in runs]))


def test_brier_score_and_log_loss_equal_a_calculation_by_hand() -> None:
    row = row_of(arm({0: [[0.75, 0.25], [0.5, 0.5]]}, "AB"))
    assert row["brier"] == pytest.approx((2 * 0.25**2 + 2 * 0.5**2) / 2)
    assert row["log_loss"] == pytest.approx(-np.log([0.75, 0.5]).mean())
    # A probability of zero for the actual class does not make the loss infinite.
    assert row_of(arm({0: [[0.0, 1.0]]}, "A"))["log_loss"] == pytest.approx(
        log_loss(["A"], [[0, 1]], labels=["A", "B"])
    )


@pytest.mark.parametrize(("actual", "area", "error"), [("AABB", 1, 0), ("BBAA", 0, 1)])
def test_perfect_and_swapped_predictions(actual: str, area: float, error: float) -> None:
    row = row_of(arm({0: [[1, 0], [1, 0], [0, 1], [0, 1]]}, actual))
    assert row[["auc", "auc_A", "auc_B"]].tolist() == [area] * 3
    assert row["ece"] == error
    assert row["accuracy"] == area
    # If the classes are swapped, every class comes last: at full recall, the precision is the share of the class.
    assert row[["average_precision", "ap_A", "ap_B"]].tolist() == [1 if area else 0.5] * 3


def test_numbers_are_means_over_the_seeds() -> None:
    right, wrong = [[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]
    row = row_of(arm({0: right, 3: wrong}, "AB"))
    assert row[["ece", "accuracy", "auc", "ap_A"]].tolist() == [0.5, 0.5, 0.5, 0.75]


def test_errors_of_overconfident_and_underconfident_seeds_do_not_cancel() -> None:
    group = arm({0: [[0.75, 0.25]], 1: [[0.25, 0.75]]}, "A")
    assert group.calibration_error == pytest.approx((0.25 + 0.75) / 2)
    assert group.pooled.error == pytest.approx(0.25)


def test_a_class_without_images_has_no_curve_and_is_in_no_mean() -> None:
    probabilities = [[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.5, 0.4, 0.1]]
    row = row_of(arm({0: probabilities}, "AAB", "ABC"))
    assert row[["auc_C", "ap_C"]].isna().all()
    assert row[["auc", "auc_A", "auc_B"]].tolist() == [1, 1, 1]


def test_images_of_a_single_class_have_a_calibration_error_but_no_curve() -> None:
    row = row_of(arm({0: [[0.75, 0.25]]}, "A"))
    assert row["ece"] == pytest.approx(0.25)
    assert row[["auc", "auc_A", "auc_B", "average_precision"]].isna().all()


def test_the_area_under_a_mean_curve_is_the_mean_area() -> None:
    [group] = drawn_arms(list("ABC"), per_class=30, variants=["original"])
    curves = [curve for found in group.curves.values() for curve in found]
    row = row_of(group)
    assert np.trapezoid(mean_roc(curves), GRID) == pytest.approx(row["auc"], abs=2e-3)
    assert mean_precision(curves).mean() == pytest.approx(row["average_precision"], abs=2e-3)


def test_mean_curves_equal_a_calculation_by_hand() -> None:
    # The ranking is A, B, A: half of the As come before the B, so precision is 1 up to a recall of 1/2, and then 2/3.
    group = arm({0: [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]}, "ABA")
    assert mean_roc(group.curves["A"])[[0, 500, 999, 1000]].tolist() == [0.5, 0.5, 0.5, 1]
    assert mean_precision(group.curves["A"])[[0, 499, 500, 999]].tolist() == pytest.approx([1, 1, 2 / 3, 2 / 3])


def test_the_probabilities_of_an_arm_are_those_of_its_files(tmp_path: Path) -> None:
    results = write_results(tmp_path, ["A", "B"], ["original"], seeds=(7, 3))
    path = next(run.path for run in results.predictions if run.seed == 3)
    table = pd.read_csv(path).iloc[::-1]
    table.loc[table["image"] == "TEST/B/0.png", ["A", "B"]] = [0.125, 0.875]
    table.to_csv(path, index=False)
    group = Probabilities.of(arms_of(results)[1])
    assert list(group.by_run) == ["seed 7", "seed 3"]
    assert group.actual.tolist() == ["A"] * 6 + ["B"] * 6
    np.testing.assert_allclose(group.by_run["seed 3"][[5, 6]], [[0.7, 0.3], [0.125, 0.875]])


@pytest.mark.parametrize(
    ("columns", "words"),
    [({"B": "half"}, "could not convert string to float"), ({"B": 0.9}, "sum to 1"), ({"B": ""}, "")],
)
def test_damaged_probabilities_are_an_error_that_names_the_file(
    tmp_path: Path, columns: dict[str, object], words: str
) -> None:
    results = write_results(tmp_path, ["A", "B"], ["original"])
    path = results.predictions[0].path
    pd.read_csv(path).assign(**columns).to_csv(path, index=False)
    with pytest.raises(InputError, match=f"{re.escape(str(path))}: .*{re.escape(words)}.*; run once with --force -- "):
        arms_of(results)


def test_matched_arms_are_trained_and_tested_on_the_same_variant() -> None:
    [group] = drawn_arms(["A", "B"], 2, ["original"])
    others = [{"tested_on": "bicubic_x4"}, {"trained_on": "dual"}, {"subset": "validation"}, {"split": "by_source"}]
    assert matched_arms([group, *(replace(group, **other) for other in others)], "paper") == [group]


def text_of(svg: Path) -> list[str]:
    """The text of a figure: matplotlib draws letters as paths, and writes each text as a comment next to them."""
    return re.findall(r"<!-- (.*?) -->", svg.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def style(monkeypatch: pytest.MonkeyPatch) -> object:
    """The style of all figures, with low resolution for speed."""
    monkeypatch.setitem(STYLE, "savefig.dpi", 40)
    with house_style():
        yield


@pytest.mark.usefixtures("style")
def test_figures_name_the_arms_and_their_numbers(tmp_path: Path) -> None:
    arms = drawn_arms(CLASSES, per_class=100)
    table = calibrations(arms)
    save_figure(draw_reliability(arms), tmp_path, "reliability")
    save_figure(draw_curves(arms), tmp_path, "curves")
    labels = ["original", "bicubic ×4", "Lanczos ×4", "Real-ESRGAN ×4"]
    assert {f"{label}, ECE {ece:.3f}" for label, ece in zip(labels, table["ece"], strict=True)} <= set(
        text_of(tmp_path / "reliability.svg")
    )
    written = text_of(tmp_path / "curves.svg")
    areas = table[[f"{area}_{name}" for area in ("auc", "ap") for name in CLASSES]].to_numpy().ravel()
    assert {*labels, "Eosinophil", "Neutrophil", "test images, split paper"} <= set(written)
    assert {f"{area:.3f}" for area in areas} <= set(written)
    assert {path.name for path in tmp_path.glob("*.png")} == {"reliability.png", "curves.png"}


@pytest.mark.usefixtures("style")
def test_reliability_omits_empty_bins_and_marks_small_ones_as_hollow() -> None:
    # Twelve predictions of 0.9, nine of them correct, and two of 0.6, one of them correct.
    group = arm({0: [[0.9, 0.1]] * 12 + [[0.6, 0.4]] * 2}, "A" * 9 + "B" * 3 + "AB")
    above, below = draw_reliability([group]).axes
    _, many, few = above.lines
    assert [many.get_xydata().tolist(), few.get_xydata().tolist()] == [[[0.9, 0.75]], [[0.6, 0.5]]]
    assert few.get_markerfacecolor() == "white"
    [stairs] = below.patches
    assert sorted(stairs.get_data().values)[-2:] == pytest.approx([2 / 14, 12 / 14])


@pytest.mark.usefixtures("style")
@pytest.mark.parametrize(
    ("classes", "panels"),
    [
        (CLASSES, 8),
        (["A", "B"], 4),
        (LONG_NAMES[:5], 10),
        (LONG_NAMES, 16),
        ([f"C{number}" for number in range(20)], 2),
    ],
)
def test_figures_are_legible_with_few_and_many_classes_and_arms(classes: list[str], panels: int) -> None:
    arms = drawn_arms(classes, 2, [*VARIANTS, "realesrgan_x2", "bicubic_x2"])
    arms.append(replace(arms[0], trained_on="dual"))
    figure = draw_curves(arms)
    assert sum(axis.axison for axis in figure.axes) == panels
    assert figure.get_figheight() <= PAGE_HEIGHT
    assert_legible(figure)
    assert_legible(draw_reliability(arms))


@pytest.mark.usefixtures("style")
def test_many_classes_are_drawn_as_one_mean_curve(tmp_path: Path) -> None:
    classes = [f"C{number}" for number in range(9)]
    arms = drawn_arms(classes, 5)
    # No image has the last class.
    kept = arms[0].actual != "C8"
    arms = [
        replace(one, actual=one.actual[kept], by_run={run: rows[kept] for run, rows in one.by_run.items()})
        for one in arms
    ]
    save_figure(draw_curves(arms), tmp_path, "curves")
    table = calibrations(arms)
    expected = {f"{area:.3f}" for area in (*table["auc"], *table["average_precision"])}
    assert {"mean of 8 classes", *expected} <= set(text_of(tmp_path / "curves.svg"))


@pytest.mark.usefixtures("style")
def test_the_panel_of_a_class_without_images_says_so() -> None:
    group = arm({0: [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1]]}, "AB", "ABC")
    figure = draw_curves([group])
    texts = [[text.get_text() for text in axis.texts] for axis in figure.axes]
    assert texts == [[], [], ["no curve"]] * 2
    assert_legible(figure)
