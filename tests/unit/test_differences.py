"""Which arms are held against one another, and that each number is the one that its name says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from results import Results, arms_of, write_results
from wbcsr.stats.differences import COLUMNS, RECALL_COLUMNS, differences, pairs, recalls
from wbcsr.stats.intervals import compare

STUDY_CLASSES = ["EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL"]
VARIANTS = ["original", "bicubic_x4", "realesrgan_x4"]


def err(results: Results, run: str, images: list[str], predicted: str) -> None:
    """Let one run take `images` for the class `predicted`."""
    path = next(path for path in results.predictions if path.as_posix().endswith(run))
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
        ("cross", "original", "bicubic_x4", *own),
        ("cross", "original", "realesrgan_x4", *own),
        ("cross", "bicubic_x4", "original", *own),
        ("cross", "realesrgan_x4", "original", *own),
    ]


def test_a_further_input_size_is_held_against_the_main_one_and_original_at_it(tmp_path: Path) -> None:
    results = write_results(tmp_path, ["A", "B"], ["original", "realesrgan_x4"], sizes=(448,))
    assert names(results)[1:] == [
        ("size", "original_448px", "original", "original", "original"),
        ("size", "realesrgan_x4_448px", "realesrgan_x4", "realesrgan_x4", "realesrgan_x4"),
        ("size", "realesrgan_x4_448px", "realesrgan_x4", "original_448px", "original"),
    ]


def test_without_another_variant_nothing_is_compared(tmp_path: Path) -> None:
    results = write_results(tmp_path, ["A", "B"], ["original"])
    for found, columns in ((differences, COLUMNS), (recalls, RECALL_COLUMNS)):
        table = found(arms_of(results), results.plan)
        assert table.empty
        assert table.columns.tolist() == columns


def test_differences_by_hand(tmp_path: Path) -> None:
    """Of 40 test images in 20 sources, enlarging loses both images of eight sources and no other."""
    results = write_results(tmp_path, ["A", "B"], ["original", "realesrgan_x4"], per_class=20, copies=2)
    lost = [f"TEST/{name}/{number}.png" for name in "AB" for number in range(8)]
    for name, other in ("AB", "BA"):
        err(results, "realesrgan_x4/seed0/realesrgan_x4.csv", [image for image in lost if f"/{name}/" in image], other)
    table = differences(arms_of(results), results.plan)
    row = table[table["subset"] == "test"].squeeze()
    assert (row["images"], row["sources"], row["difference"]) == (40, 20, pytest.approx(-16 / 40))
    assert row["low"] < -0.4 < row["high"] < 0
    # All eight differ in one direction: of the 2**8 exchanges two are as extreme.
    assert row["p_sources"] == pytest.approx(2 / 2**8)
    assert row["p_mcnemar"] == pytest.approx(2 / 2**16)
    assert row["p_holm"] == row["p_sources"]
    arms = {arm.trained_on: arm for arm in arms_of(results) if arm.subset == "test"}
    rows = arms["original"].independent
    found = compare(arms["realesrgan_x4"].correct, arms["original"].correct, rows["source"], rows["class"])
    assert (row["low"], row["high"]) == (found.difference.low, found.difference.high)


def test_holm_corrects_for_all_comparisons_of_a_subset_and_for_no_other(tmp_path: Path) -> None:
    results = write_results(tmp_path, ["A", "B"], VARIANTS, per_class=20)
    err(results, "realesrgan_x4/seed0/realesrgan_x4.csv", [f"TEST/A/{number}.png" for number in range(8)], "B")
    table = differences(arms_of(results), results.plan)
    test = table[table["subset"] == "test"].set_index(["question", "trained_on"])
    assert test.loc[("enlargement", "realesrgan_x4"), "p_sources"] == pytest.approx(2 / 2**8)
    assert test.loc[("enlargement", "realesrgan_x4"), "p_holm"] == pytest.approx(3 * 2 / 2**8)
    assert (table.loc[table["subset"] == "validation", "p_holm"] == 1).all()


def test_unknown_sources_are_said_to_be_unknown(tmp_path: Path) -> None:
    results = write_results(tmp_path, ["A", "B"], ["original", "realesrgan_x4"], per_class=20, copies=0)
    table = differences(arms_of(results), results.plan)
    assert table["sources"].isna().all()
    assert table["images"].tolist() == [14, 40]


def test_recalls_and_the_pair_by_hand(tmp_path: Path) -> None:
    """Enlarged, five of 20 neutrophils are taken for eosinophils and two for monocytes."""
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


def test_other_classes_have_no_pair(tmp_path: Path) -> None:
    results = write_results(tmp_path, ["A", "B"], ["original", "realesrgan_x4"], per_class=20)
    table = recalls(arms_of(results), results.plan)
    assert set(table["measure"]) == {"recall"}
    without = replace(results.plan, variants=["original", "bicubic_x4"])
    assert recalls([arm for arm in arms_of(results) if arm.tested_on == "original"], without).empty
