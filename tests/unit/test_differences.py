"""Comparisons of arms: which ones are made, and that each number agrees with a calculation by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.proportion import proportion_confint

from results import Results, arms_of, write_results
from wbcsr.stats.differences import COLUMNS, RECALL_COLUMNS, differences, pairs, recalls
from wbcsr.stats.intervals import compare

STUDY_CLASSES = ["EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL"]
VARIANTS = ["original", "bicubic_x4", "realesrgan_x4"]


def err(results: Results, run: str, images: list[str], predicted: str) -> None:
    """Make one run predict `predicted` for `images`."""
    path = next(one.path for one in results.predictions if one.path.as_posix().endswith(run))
    table = pd.read_csv(path)
    assert table["image"].isin(images).sum() == len(images)
    table.loc[table["image"].isin(images), "predicted"] = predicted
    table.to_csv(path, index=False)


def names(results: Results) -> list[tuple[str, ...]]:
    arms = [arm for arm in arms_of(results) if arm.subset == "test"]
    return [
        (question, one.trained_on, one.tested_on, other.trained_on, other.tested_on)
        for question, one, other in pairs(arms, results.plan)
    ]


def test_every_question_has_its_comparisons(tmp_path: Path) -> None:
    results = write_results(tmp_path, ["A", "B"], VARIANTS, dual=True, cross_evaluate=True)
    own = ("original", "original")
    assert names(results) == [
        ("enlargement", "bicubic_x4", "bicubic_x4", *own),
        ("enlargement", "realesrgan_x4", "realesrgan_x4", *own),
        ("control", "realesrgan_x4", "realesrgan_x4", "bicubic_x4", "bicubic_x4"),
        ("dual", "dual", "original", *own),
        ("dual", "dual", "realesrgan_x4", "realesrgan_x4", "realesrgan_x4"),
        ("one network", "dual", "realesrgan_x4", "dual", "original"),
        ("cross", "original", "bicubic_x4", *own),
        ("cross", "original", "realesrgan_x4", *own),
        ("cross", "bicubic_x4", "original", *own),
        ("cross", "realesrgan_x4", "original", *own),
    ]


def test_a_further_input_size_is_compared_with_the_main_size_and_with_original(tmp_path: Path) -> None:
    results = write_results(tmp_path, ["A", "B"], ["original", "realesrgan_x4"], sizes=(448,))
    assert names(results)[1:] == [
        ("size", "original_448px", "original", "original", "original"),
        ("size", "realesrgan_x4_448px", "realesrgan_x4", "realesrgan_x4", "realesrgan_x4"),
        ("size", "realesrgan_x4_448px", "realesrgan_x4", "original_448px", "original"),
    ]


def test_with_one_variant_there_are_no_comparisons(tmp_path: Path) -> None:
    results = write_results(tmp_path, ["A", "B"], ["original"])
    for found, columns in ((differences, COLUMNS), (recalls, RECALL_COLUMNS)):
        table = found(arms_of(results), results.plan)
        assert table.empty
        assert table.columns.tolist() == columns


def test_differences_equal_a_calculation_by_hand(tmp_path: Path) -> None:
    """Of 40 test images from 20 sources, upscaling makes both images of eight sources wrong, and no others."""
    results = write_results(tmp_path, ["A", "B"], ["original", "realesrgan_x4"], per_class=20, copies=2)
    lost = [f"TEST/{name}/{number}.png" for name in "AB" for number in range(8)]
    for name, other in ("AB", "BA"):
        err(results, "realesrgan_x4/seed0/realesrgan_x4.csv", [image for image in lost if f"/{name}/" in image], other)
    table = differences(arms_of(results), results.plan)
    row = table[table["subset"] == "test"].squeeze()
    assert (row["images"], row["sources"], row["difference"]) == (40, 20, pytest.approx(-16 / 40))
    assert row["low"] < -0.4 < row["high"] < 0
    # All eight differ in one direction: two of the 2**8 exchanges are as extreme.
    assert row["p_sources"] == pytest.approx(2 / 2**8)
    assert row["p_mcnemar"] == pytest.approx(2 / 2**16)
    assert row["p_holm"] == row["p_sources"]
    arms = {arm.trained_on: arm for arm in arms_of(results) if arm.subset == "test"}
    rows = arms["original"].independent
    found = compare(arms["realesrgan_x4"].correct, arms["original"].correct, rows["source"], rows["class"])
    assert (row["low"], row["high"]) == (found.difference.low, found.difference.high)


def test_holm_corrects_for_exactly_the_secondary_comparisons_of_a_subset(tmp_path: Path) -> None:
    results = write_results(tmp_path, ["A", "B"], VARIANTS, per_class=20)
    err(results, "realesrgan_x4/seed0/realesrgan_x4.csv", [f"TEST/A/{number}.png" for number in range(8)], "B")
    table = differences(arms_of(results), results.plan)
    test = table[table["subset"] == "test"].set_index(["question", "trained_on"])
    assert test.loc[("enlargement", "realesrgan_x4"), "p_sources"] == pytest.approx(2 / 2**8)
    # The primary comparison is a family by itself in its metric; all others are corrected together.
    assert test["family"].tolist() == ["secondary", "primary", "secondary"]
    assert test.loc[("enlargement", "realesrgan_x4"), "p_metric_holm"] == pytest.approx(2 / 2**8)
    assert test.loc[("control", "realesrgan_x4"), "p_metric_holm"] == pytest.approx(2 * 2 / 2**8)
    assert test.loc[("enlargement", "realesrgan_x4"), "p_holm"] == pytest.approx(3 * 2 / 2**8)
    assert (table.loc[table["subset"] == "validation", "family"] == "secondary").all()
    assert (table.loc[table["subset"] == "validation", "p_holm"] == 1).all()


@pytest.mark.parametrize(
    ("variant", "against", "question"),
    [
        ("realesrgan_x4", "original", "enlargement"),
        ("realesrgan_x4", "bicubic_x4", "control"),
        ("bicubic_x4", "realesrgan_x4", "primary"),
    ],
)
def test_the_primary_comparison_is_made_once(tmp_path: Path, variant: str, against: str, question: str) -> None:
    results = write_results(tmp_path, ["A", "B"], VARIANTS, per_class=20)
    evaluation = results.plan.evaluation
    primary = {**evaluation["primary"], "variant": variant, "against": against}
    table = differences(arms_of(results), replace(results.plan, evaluation={**evaluation, "primary": primary}))
    rows = table[table["family"] == "primary"]
    assert rows[["question", "trained_on", "against_trained_on"]].values.tolist() == [[question, variant, against]]


def test_macro_recall_weights_all_sources_equally(tmp_path: Path) -> None:
    """Six sources of A are lost, one with fifteen images, and none of B: 6 of 20 sources of one class of two."""
    results = write_results(tmp_path, ["A", "B"], ["original", "realesrgan_x4"], per_class=34)
    table = pd.read_csv(results.sources)
    first = table["image"].isin([f"TEST/A/{number}.png" for number in range(15)])
    table.loc[first, "source"] = "TEST/A/0"
    table.to_csv(results.sources, index=False)
    lost = [f"TEST/A/{number}.png" for number in range(20)]
    err(results, "realesrgan_x4/seed0/realesrgan_x4.csv", lost, "B")
    found = differences(arms_of(results), results.plan)
    row = found[found["subset"] == "test"].squeeze()
    assert row["metric"] == "macro_recall"
    assert row["difference"] == pytest.approx(-20 / 68)
    assert row["metric_difference"] == pytest.approx(-6 / 20 / 2)
    assert row["p_metric"] == pytest.approx(2 / 2**6)
    assert row["metric_low"] < row["metric_low90"] < -6 / 40 < row["metric_high90"] < row["metric_high"] < 0
    assert (row["finding"], row["verdict"], row["seeds"]) == ("lower", "provisional", 1)
    assert np.isnan(row["training_sd"])
    again = differences(arms_of(results), replace(results.plan, evaluation=accuracy_of(results)))
    row = again[again["subset"] == "test"].squeeze()
    assert (row["metric_difference"], row["metric_low"]) == (row["difference"], row["low"])


def accuracy_of(results: Results) -> dict[str, Any]:
    """The plan's evaluation section with accuracy as metric."""
    evaluation = results.plan.evaluation
    return {**evaluation, "primary": {**evaluation["primary"], "metric": "accuracy"}}


def test_equal_arms_are_equivalent_only_with_many_sources(tmp_path: Path) -> None:
    """If none of n sources differs, at most 1 − 0.05^(1/n) of all sources do: a margin of 3 points needs 99 sources."""
    for per_class, verdict in ((40, "no_detectable_difference"), (50, "equivalent")):
        folder = tmp_path / str(per_class)
        results = write_results(folder, ["A", "B"], ["original", "realesrgan_x4"], seeds=(0, 1, 2), per_class=per_class)
        table = differences(arms_of(results), results.plan)
        row = table[table["subset"] == "test"].squeeze()
        assert (row["metric_reason"], row["verdict"]) == ("alike", verdict)
        assert row["largest_differing"] == pytest.approx(1 - 0.05 ** (1 / (2 * per_class)))


def test_the_detectable_difference_is_reported_with_few_differences(tmp_path: Path) -> None:
    """Three of 80 sources differ: the formula gives 6 points, or slightly less without the means of the classes."""
    results = write_results(tmp_path, ["A", "B"], ["original", "realesrgan_x4"], per_class=40)
    err(results, "realesrgan_x4/seed0/realesrgan_x4.csv", ["TEST/A/10.png", "TEST/A/11.png"], "B")
    err(results, "realesrgan_x4/seed0/realesrgan_x4.csv", ["TEST/B/10.png"], "A")
    table = differences(arms_of(results), results.plan)
    row = table[table["subset"] == "test"].squeeze()
    assert (row["metric_reason"], row["verdict"]) == ("alike", "no_detectable_difference")
    assert np.isnan([row["metric_low"], row["p_tost"]]).all()
    assert row["largest_differing"] == pytest.approx(proportion_confint(3, 80, 0.1, method="beta")[1])
    assert row["detectable"] == pytest.approx((7.85 * (3 / 80) / 80) ** 0.5, rel=0.1)
    assert row["sources_3"] == pytest.approx(7.85 * (3 / 80) / 0.03**2, rel=0.1)


def test_the_interval_includes_the_noise_of_trainings(tmp_path: Path) -> None:
    """Two of three trainings on upscaled images fail on the same eight images, so the changes are not independent."""
    results = write_results(tmp_path, ["A", "B"], ["original", "realesrgan_x4"], seeds=(0, 1, 2), per_class=40)
    lost = {name: [f"TEST/{name}/{number}.png" for number in range(10, 18)] for name in "AB"}
    for seed in (0, 1):
        for name, other in ("AB", "BA"):
            err(results, f"realesrgan_x4/seed{seed}/realesrgan_x4.csv", lost[name], other)
    arms = {arm.trained_on: arm for arm in arms_of(results) if arm.subset == "test"}
    table = differences(list(arms.values()), results.plan)
    row, one = table.squeeze(), arms["original"].independent
    alone = compare(arms["realesrgan_x4"].correct, arms["original"].correct, one["source"], one["class"]).difference
    assert row["training_sd"] > 0.05
    assert row["low"] < alone.low < alone.high < row["high"]
    assert row["detectable"] > 0.1
    assert row["sources_1"] == np.inf


def test_unknown_sources_are_reported_as_unknown(tmp_path: Path) -> None:
    results = write_results(tmp_path, ["A", "B"], ["original", "realesrgan_x4"], per_class=20, copies=0)
    table = differences(arms_of(results), results.plan)
    assert table["sources"].isna().all()
    assert table["images"].tolist() == [14, 40]


def test_recalls_and_pair_equal_a_calculation_by_hand(tmp_path: Path) -> None:
    """After upscaling, five of 20 neutrophils are classified as eosinophils and two as monocytes."""
    results = write_results(tmp_path, STUDY_CLASSES, ["original", "realesrgan_x4"], per_class=20)
    run = "realesrgan_x4/seed0/realesrgan_x4.csv"
    err(results, run, [f"TEST/NEUTROPHIL/{number}.png" for number in range(5)], "EOSINOPHIL")
    err(results, run, [f"TEST/NEUTROPHIL/{number}.png" for number in (5, 6)], "MONOCYTE")
    table = recalls(arms_of(results), results.plan)
    test = table[table["subset"] == "test"].set_index(["measure", "of"])
    assert [of for measure, of in test.index if measure == "recall"] == STUDY_CLASSES
    assert test.loc[("recall", "NEUTROPHIL"), ["share", "against", "difference"]].tolist() == [0.65, 1, -0.35]
    assert test.loc[("recall", "MONOCYTE"), "difference"] == 0
    both = "EOSINOPHIL and NEUTROPHIL"
    assert test.loc[("pair accuracy", both), ["images", "share"]].tolist() == [40, 33 / 40]
    assert test.loc[("pair confusion", both), ["share", "against"]].tolist() == [5 / 40, 0]


def test_recalls_equal_the_accuracies_of_a_study_of_one_class_and_include_the_noise_of_trainings(
    tmp_path: Path,
) -> None:
    """Two of three trainings on upscaled images fail on the same eight eosinophils and take them for neutrophils."""
    results = write_results(tmp_path, STUDY_CLASSES, ["original", "realesrgan_x4"], seeds=(0, 1, 2), per_class=40)
    lost = [f"TEST/EOSINOPHIL/{number}.png" for number in range(10, 18)]
    for seed in (0, 1):
        err(results, f"realesrgan_x4/seed{seed}/realesrgan_x4.csv", lost, "NEUTROPHIL")
    arms = [arm for arm in arms_of(results) if arm.subset == "test"]
    table = recalls(arms, results.plan).set_index(["measure", "of"])
    both = "EOSINOPHIL and NEUTROPHIL"
    for of, row in (
        (["EOSINOPHIL"], table.loc["recall", "EOSINOPHIL"]),
        (["EOSINOPHIL", "NEUTROPHIL"], table.loc["pair accuracy", both]),
    ):
        kept = arms[0].rows["class"].isin(of).to_numpy()
        alone = [
            replace(
                arm,
                rows=arm.rows[kept].reset_index(drop=True),
                predicted={run: names[kept] for run, names in arm.predicted.items()},
            )
            for arm in arms
        ]
        expected = differences(alone, results.plan).squeeze()
        for column in ("images", "sources", "difference", "low", "high", "p_sources", "p_mcnemar"):
            assert row[column] == expected[column], (of, column)
        without = compare(
            alone[1].correct, alone[0].correct, alone[0].rows["source"], alone[0].rows["class"]
        ).difference
        assert row["low"] < without.low < without.high < row["high"]
    # Every eosinophil that is wrong is taken for a neutrophil.
    confusion = table.loc["pair confusion", both]
    assert confusion["difference"] == pytest.approx(-table.loc["pair accuracy", both]["difference"])
    kept = arms[0].rows["class"].isin(["EOSINOPHIL", "NEUTROPHIL"]).to_numpy()
    rows = arms[0].rows[kept]
    other = np.where(rows["class"] == "EOSINOPHIL", "NEUTROPHIL", "EOSINOPHIL")
    confused = [np.array([names[kept] == other for names in arm.predicted.values()], dtype=bool) for arm in arms]
    without = compare(confused[1], confused[0], rows["source"], rows["class"]).difference
    assert confusion["low"] < without.low < without.high < confusion["high"]


def test_other_classes_have_no_pair_rows(tmp_path: Path) -> None:
    results = write_results(tmp_path, ["A", "B"], ["original", "realesrgan_x4"], per_class=20)
    table = recalls(arms_of(results), results.plan)
    assert set(table["measure"]) == {"recall"}
    without = replace(results.plan, variants=["original", "bicubic_x4"])
    assert recalls([arm for arm in arms_of(results) if arm.tested_on == "original"], without).empty
