"""The text of the answer follows from the numbers of the tables and claims nothing more."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from answers import ENHANCED, MAIN, OWN, answer_of, page_part, prose, results_of, together
from defaults import config_of
from wbcsr.report import answer, limits
from wbcsr.study import published


@pytest.mark.parametrize(
    ("interval", "more", "verdict"),
    [
        ((-0.06, -0.01), {}, "lower"),
        ((0.01, 0.06), {}, "higher"),
        ((-0.03, 0.06), {}, "no_detectable_difference"),
        ((0.01, 0.06), {"runs": 1}, "provisional"),
        (None, {}, "no_detectable_difference"),
        (None, {"reason": "few_sources"}, "unknown"),
    ],
)
def test_the_answer_has_the_verdict_of_the_table(
    interval: tuple[float, float] | None, more: dict[str, Any], verdict: str
) -> None:
    result = answer_of(0.9, 0.9 + (np.mean(interval) if interval else 0.02), interval, **more)
    assert result["verdict"] == verdict
    assert 2 <= 1 + len(result["sentences"]) <= 4
    assert ("macro recall" in result["lead"]) == (verdict != "unknown")
    for end in interval or ():
        assert f"{100 * end:+.1f}".replace("-", "−") in result["lead"]


@pytest.mark.parametrize(("p_value", "share"), [(0.031, "3.1\u00a0%"), (0.0004, "0.1\u00a0%"), (1.0, "100.0\u00a0%")])
def test_p_values_are_explained_as_frequencies(p_value: float, share: str) -> None:
    assert f"{share} of cases" in answer_of(0.9, 0.9, (-0.02, 0.02), p_value=p_value)["sentences"][1]


def test_the_answer_is_based_on_the_primary_comparison() -> None:
    arms = [(*OWN, 0.9), ("bicubic_x4", "bicubic_x4", 0.92), (*ENHANCED, 0.95)]
    differences = {MAIN: (-0.01, 0.09), (*ENHANCED, "bicubic_x4", "bicubic_x4"): (0.01, 0.05)}
    config = config_of(evaluation={"primary": {"against": "bicubic_x4"}})
    result = answer.answer(results_of(*arms, differences=differences), config)
    assert result["verdict"] == "higher"
    assert "bicubic ×4" in result["lead"]
    assert "92.0" in result["sentences"][0]
    assert result["published"] == ""


@pytest.mark.parametrize(("against_bicubic", "beaten"), [((0.01, 0.09), True), ((-0.01, 0.05), False)])
def test_a_gain_that_interpolation_also_gives_is_not_credited_to_super_resolution(
    against_bicubic: tuple[float, float], beaten: bool
) -> None:
    arms = [(*OWN, 0.9), ("bicubic_x4", "bicubic_x4", 0.92), (*ENHANCED, 0.95)]
    differences = {MAIN: (0.01, 0.09), (*ENHANCED, "bicubic_x4", "bicubic_x4"): against_bicubic}
    result = answer.answer(results_of(*arms, differences=differences), config_of())
    assert result["verdict"] == "higher"
    assert ("plain interpolation" in result["lead"]) is not beaten
    assert "bicubic ×4" in result["sentences"][-1]
    assert f"{100 * against_bicubic[1]:+.1f}" in result["sentences"][-1]


def test_interpolation_alone_gives_no_answer_about_super_resolution() -> None:
    arms = [(*OWN, 0.9), ("bicubic_x4", "bicubic_x4", 0.95)]
    differences = {("bicubic_x4", "bicubic_x4", *OWN): (0.01, 0.09)}
    config = config_of(variants=["original", "bicubic_x4"], dual=False)
    assert "super-resolution" in answer.answer(results_of(*arms, differences=differences), config)["lead"]


@pytest.mark.parametrize(
    ("more", "shown", "hidden"),
    [
        ({}, ["89.2\u00a0%", "91.8\u00a0%", "2,487", "67"], ["in training"]),
        ({"sources": float("nan"), "shared": float("nan")}, ["2,487"], ["independent"]),
        ({"shared": 228}, ["9.2\u00a0%"], []),
        ({"runs": 1}, ["2,487"], ["mean of"]),
        ({"runs": 3}, ["three trainings"], []),
        # With few images, the number of correct images is also given.
        ({"images": 32}, ["(28.5 of 32)", "(29.4 of 32)"], []),
    ],
)
def test_the_first_sentence_gives_both_accuracies_and_the_number_of_images(
    more: dict[str, Any], shown: list[str], hidden: list[str]
) -> None:
    sentence = answer_of(0.918, 0.892, **more)["sentences"][0]
    assert all(number in sentence for number in shown)
    assert not any(word in sentence for word in hidden)


def test_the_answer_uses_the_split_by_source_if_there_is_one() -> None:
    arms = ((*OWN, 0.7), (*ENHANCED, 0.75))
    paper = results_of((*OWN, 0.9), (*ENHANCED, 0.8), differences={MAIN: (-0.2, -0.1)})
    by_source = results_of(*arms, differences={MAIN: (0.01, 0.09)}, split="by_source")
    config = config_of(splits=["paper", "by_source"], dataset={"photographs": "photographs"})
    result = answer.answer(together(paper, by_source), config)
    assert result["verdict"] == "higher"
    assert "75.0\u00a0%" in result["sentences"][0]


@pytest.mark.parametrize(
    ("interval", "word"),
    [
        ((-0.09, -0.01), "agrees"),
        ((0.01, 0.09), "contradicts"),
        ((-0.05, 0.05), "neither"),
        (None, "neither"),
    ],
)
def test_the_direction_is_compared_with_the_study(interval: tuple[float, float] | None, word: str) -> None:
    value = np.mean(interval) if interval else 0
    result = answer_of(0.9, 0.9 + value, interval)["published"]
    for number in (
        "89.3\u00a0%",
        "91.8\u00a0%",
        "2.4 points lower",
        "1,989",
        "251",
        "in 0.9\u00a0%",
        "in 12.5\u00a0%",
        "in 31.",
        word,
    ):
        assert number in result


def test_a_data_set_of_other_classes_is_not_compared_with_the_study() -> None:
    results = results_of((*OWN, 0.9), (*ENHANCED, 0.8))
    results["comparison"]["study_accuracy"] = float("nan")
    results["leakage"] = results["leakage"].rename(
        index=dict(zip(published.CLASSES, ["cat", "dog", "eel", "fox"], strict=True))
    )
    config = config_of(dataset={"classes": ["cat", "dog"]})
    assert answer.answer(results, config)["published"] == ""
    assert limits.subject(config) == "images"


@pytest.mark.parametrize(
    ("method", "sources", "shared", "word"),
    [
        ("photographs", 67, 228, "228"),
        ("photographs", 67, 0, "A source is a photograph"),
        ("images", 67, 0, "all images that show the same cells"),
        ("groups", 67, 0, "section sources"),
        ("each", 67, 0, "section sources"),
        ("none", float("nan"), float("nan"), "not known"),
    ],
)
def test_a_caution_explains_sources(method: str, sources: float, shared: float, word: str) -> None:
    results = results_of((*OWN, 0.9), (*ENHANCED, 0.9), sources=sources, shared=shared)
    dataset = {"photographs": "cells"} if method == "photographs" else {"labels": "labels.csv"}
    cautions = answer.answer(results, config_of(dataset=dataset, sources={"method": method}))["cautions"]
    assert any(word in caution for caution in cautions)


@pytest.mark.parametrize(("thin", "recall"), [(4, "40\u00a0%"), (8, "63\u00a0%"), (40, None)])
def test_one_caution_names_all_classes_with_few_sources(thin: int, recall: str | None) -> None:
    found = [caution for caution in answer_of(0.9, 0.9, thin=thin)["cautions"] if "Monocyte" in caution]
    assert len(found) == (1 if recall else 0)
    assert all(str(recall) in caution and "Eosinophil" in caution for caution in found)


@pytest.mark.parametrize(("accuracies", "learned"), [((0.25, 0.26), False), ((0.25, 0.60), True), ((0.9, 0.9), True)])
def test_accuracies_of_guessing_give_the_verdict_nothing_learned(
    accuracies: tuple[float, float], learned: bool
) -> None:
    """With four classes, guessing gives an accuracy of a quarter."""
    assert (answer_of(*accuracies)["verdict"] == "nothing learned") is not learned


@pytest.mark.parametrize(
    ("archive", "drawn"), [("data/drawn.zip", True), ("data/archive.zip", False), ("drawn.zip/mine", False)]
)
def test_results_on_synthetic_images_are_called_a_demonstration(archive: str, drawn: bool) -> None:
    config = {"dataset": {"archive": archive}}
    result = answer_of(0.5, 0.99, (0.4, 0.6), **config)
    assert result["lead"].startswith("A demonstration") == drawn
    assert ("drawn by a program" in page_part("limits", config_of(**config))) == drawn


@pytest.mark.parametrize(
    ("sizes", "word"),
    [((224, []), "discards"), ((224, [448]), "a part of"), ((960, []), "all of them")],
)
def test_the_page_says_whether_the_classifier_uses_the_resolution(sizes: tuple[int, list[int]], word: str) -> None:
    config = config_of(train={"input_size": sizes[0], "extra_input_sizes": sizes[1]})
    result = limits.resolution("realesrgan_x4", 320, 240, config)
    assert "1280\u00a0×\u00a0960" in result
    assert word in result
    assert limits.resolution(None, 320, 240, config) == ""


@pytest.mark.parametrize(
    ("findings", "variants"),
    [
        ([], None),
        (["higher", "higher", "lower"], None),
        (["higher", "equivalent", "lower"], ("ceiling", "bicubic ×4")),
        (["non_inferior", "no_detectable_difference", "higher"], ("original", "reduced ÷4")),
    ],
)
def test_a_caution_names_the_first_control_that_failed(findings: list[str], variants: tuple[str, str] | None) -> None:
    rows = [
        *(("positive", "original", "reduced_x4"), ("ceiling", "ceiling", "bicubic_x4")),
        ("primary", "realesrgan_x4", "original"),
    ]
    results = results_of((*OWN, 0.9), (*ENHANCED, 0.9))
    results["controls"] = pd.DataFrame(
        [
            {**dict(zip(("step", "variant", "against"), row, strict=True)), "finding": found}
            | {"metric_difference": 0.012, "metric_low": -0.01, "metric_high": 0.034}
            for row, found in zip(rows, findings, strict=False)
        ],
        columns=results["controls"].columns,
    )
    said = [caution for caution in answer.answer(results, config_of())["cautions"] if "control" in caution]
    assert len(said) == (variants is not None)
    for word in (*(variants or ()), "−1.0 to +3.4")[: 3 * len(said)]:
        assert word in said[0]


def test_without_an_upscaled_variant_there_is_no_verdict() -> None:
    config = config_of(variants=["original"], dual=False)
    result = answer.answer(results_of((*OWN, 0.9)), config)
    assert (result["verdict"], result["published"]) == ("not asked", "")
    assert "90.0\u00a0%" in prose(result)
