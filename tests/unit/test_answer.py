"""The answer's words follow from the numbers of the tables, and say no more than these do."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from defaults import config_of
from wbcsr.report import answer, wording
from wbcsr.stats import differences as differences_module
from wbcsr.study import published


def results_of(
    *arms: tuple[str, str, float],
    images: int = 2487,
    sources: float = 67,
    shared: float = 0,
    runs: int = 1,
    differences: dict[tuple[str, str, str, str], tuple[float, float]] | None = None,
    p_value: float = 0.01,
    reason: str = "alike",
    split: str = "paper",
    subset: str = "test",
    thin: int = 40,
) -> dict[str, pd.DataFrame]:
    """The tables that the words are made of, in memory: (trained on, tested on, accuracy) of each arm.

    `differences` has the interval of each comparison, by both arms; others have none. Of each class `thin` sources are
    tested.
    """
    comparison, compared = [], []
    for trained_on, tested_on, accuracy in arms:
        comparison.append(
            {
                **{"split": split, "trained_on": trained_on, "tested_on": tested_on, "subset": subset, "reason": ""},
                **{"images": images, "sources": sources, "shared": shared, "runs": runs, "accuracy": accuracy},
                "accuracy_sd": 0.004 if runs > 1 else float("nan"),
                **{"accuracy_low": accuracy - 0.02, "accuracy_high": accuracy + 0.02},
                "study_accuracy": published.accuracy(split, trained_on, tested_on, subset, published.CLASSES),
            }
        )
    accuracies = {(trained_on, tested_on): accuracy for trained_on, tested_on, accuracy in arms}
    for one, other in itertools.permutations(accuracies, 2):
        low, high = (differences or {}).get((*one, *other), (float("nan"),) * 2)
        compared.append(
            {
                **{"split": split, "subset": subset, "trained_on": one[0], "tested_on": one[1]},
                **{"against_trained_on": other[0], "against_tested_on": other[1], "question": "enlargement"},
                **{"reason": reason if math.isnan(low) else "", "images": images, "sources": sources},
                **{"effective_sources": 8.0, "differing": 3.0},
                **{"difference": accuracies[one] - accuracies[other], "low": low, "high": high},
                **{"p_sources": p_value, "p_holm": min(1, 3 * p_value), "p_mcnemar": p_value},
            }
        )
    names = [*published.CLASSES, ""]
    leakage = pd.DataFrame(
        {"split": split, "subset": subset, "class": names, "images": 9, "sources": thin, "unknown": 0, "shared": 0}
    )
    leakage.loc[leakage["class"] == "", "images"] = 9 * len(published.CLASSES)
    return {
        "comparison": pd.DataFrame(comparison).astype({"study_accuracy": float}),
        "differences": pd.DataFrame(compared, columns=[*differences_module.COLUMNS]),
        "leakage": leakage.set_index(["split", "subset", "class"]),
    }


OWN = ("original", "original")
ENHANCED = ("realesrgan_x4", "realesrgan_x4")
MAIN = (*ENHANCED, *OWN)


def together(*parts: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    return {name: pd.concat([part[name] for part in parts]) for name in parts[0]}


def answer_of(
    original: float, enlarged: float, interval: tuple[float, float] | None = None, **more: Any
) -> dict[str, Any]:
    """The answer of original and Real-ESRGAN ×4, with the study's validation images scored alike."""
    sections = {name: more.pop(name) for name in ("dataset", "dual") if name in more}
    arms = ((*OWN, original), (*ENHANCED, enlarged))
    differences = {MAIN: interval} if interval else {}
    judged = results_of(*arms, differences=differences, **more)
    validation = results_of(*arms, images=1989, sources=251, shared=1989, subset="validation")
    return answer.answer(together(judged, validation), config_of(**sections))


@pytest.mark.parametrize(
    ("interval", "verdict", "lead", "certainty"),
    [
        ((-0.06, -0.01), "lower", "No: ", "−6.0 to −1.0 points, lies below zero"),
        ((0.01, 0.06), "higher", "Yes, in this study: ", "+1.0 to +6.0 points, lies above zero"),
        ((-0.03, 0.06), "unclear", "No clear difference", "−3.0 to +6.0 points, includes zero"),
        (
            None,
            "alike",
            "No clear difference between the original images and Real-ESRGAN ×4: the arms differ on only 3 of 67",
            "",
        ),
    ],
)
def test_the_verdict_follows_from_the_interval(
    interval: tuple[float, float] | None, verdict: str, lead: str, certainty: str
) -> None:
    told = answer_of(0.9, 0.9 + (np.mean(interval) if interval else 0.02), interval)
    assert told["verdict"] == verdict
    assert told["lead"].startswith(lead)
    assert certainty in told["details"][0]
    ends = f"95\u00a0% interval {certainty.split(' points')[0]}" if interval else "(+2.0 points)"
    assert ends in told["lead"]
    assert "p\u00a0=\u00a00.010 (=\u00a00.030 corrected" in told["details"][0]


def test_too_few_sources_are_no_answer() -> None:
    told = answer_of(0.9, 0.92, reason="few_sources")
    assert told["verdict"] == "unknown"
    assert told["lead"].startswith("No answer: too few independent sources")
    assert "There is no interval of the difference: 67 sources are worth 8.0" in told["details"][0]


def test_interval_and_test_must_agree() -> None:
    told = answer_of(0.9, 0.95, (0.01, 0.09), p_value=0.07)
    assert told["verdict"] == "unclear"
    assert "lies above zero, but the test does not confirm it" in told["details"][0]


@pytest.mark.parametrize(
    ("against_bicubic", "words"),
    [((0.01, 0.09), ", of one training)."), ((-0.01, 0.05), "but not clearly higher than with plain interpolation.")],
)
def test_a_gain_that_interpolation_has_too_is_not_super_resolutions(
    against_bicubic: tuple[float, float], words: str
) -> None:
    arms = [(*OWN, 0.9), ("bicubic_x4", "bicubic_x4", 0.92), (*ENHANCED, 0.95)]
    differences = {MAIN: (0.01, 0.09), (*ENHANCED, "bicubic_x4", "bicubic_x4"): against_bicubic}
    lead = answer.answer(results_of(*arms, differences=differences), config_of())["lead"]
    assert lead.startswith("Yes, ")
    assert lead.endswith(words)


def test_interpolation_alone_says_nothing_of_super_resolution() -> None:
    arms = [(*OWN, 0.9), ("bicubic_x4", "bicubic_x4", 0.95)]
    differences = {("bicubic_x4", "bicubic_x4", *OWN): (0.01, 0.09)}
    config = config_of(variants=["original", "bicubic_x4"], dual=False)
    lead = answer.answer(results_of(*arms, differences=differences), config)["lead"]
    assert "says nothing about super-resolution" in lead


def test_the_headline_gives_both_accuracies_and_what_stands_behind_them() -> None:
    headline = answer_of(0.918, 0.892)["headline"]
    for number in ("89.2\u00a0%", "2,487 test images of 67 independent sources;", "91.8\u00a0%", "2.6 points lower."):
        assert number in headline
    assert "2,487 test images; " in answer_of(0.918, 0.892, sources=float("nan"))["headline"]
    assert ", 9.2\u00a0% of them with a copy in training; " in answer_of(0.918, 0.892, shared=228)["headline"]


def test_the_answer_is_of_by_source_where_there_is_such_a_split() -> None:
    arms = ((*OWN, 0.7), (*ENHANCED, 0.75))
    paper = results_of((*OWN, 0.9), (*ENHANCED, 0.8), differences={MAIN: (-0.2, -0.1)})
    judged = results_of(*arms, differences={MAIN: (0.01, 0.09)}, split="by_source")
    config = config_of(splits=["paper", "by_source"], dataset={"photographs": "photographs"})
    told = answer.answer(together(paper, judged), config)
    assert told["verdict"] == "higher"
    assert "75.0\u00a0%" in told["headline"]


def test_the_study_is_told_with_the_photographs_behind_it() -> None:
    details = answer_of(0.918, 0.892, (-0.05, -0.01))["details"]
    for numbers in (
        ("89.2\u00a0%", "91.8\u00a0%", "1,989 validation images", "251 sources", "every one has a copy"),
        ("89.3\u00a0%", "2.4 points lower", "1,989 validation images", "251 photographs", "points the same way"),
    ):
        assert any(all(number in detail for number in numbers) for detail in details)


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        ((-0.09, -0.01), "the same way"),
        ((0.01, 0.09), "the other way"),
        ((-0.05, 0.05), "neither confirms nor contradicts"),
        (None, "neither confirms nor contradicts"),
    ],
)
def test_the_study_is_compared_by_direction(interval: tuple[float, float] | None, words: str) -> None:
    value = np.mean(interval) if interval else 0
    assert any(words in detail for detail in answer_of(0.9, 0.9 + value, interval)["details"])


def test_a_data_set_of_other_classes_is_not_compared_with_the_study() -> None:
    results = results_of((*OWN, 0.9), (*ENHANCED, 0.8))
    results["comparison"]["study_accuracy"] = float("nan")
    results["leakage"] = results["leakage"].rename(
        index=dict(zip(published.CLASSES, ["cat", "dog", "eel", "fox"], strict=True))
    )
    config = config_of(dataset={"classes": ["cat", "dog"]})
    told = answer.answer(results, config)
    assert not any("study reported" in detail for detail in told["details"])
    assert wording.subject(config) == "images"


@pytest.mark.parametrize(
    ("runs", "words"),
    [(1, "comes from one training"), (3, "mean of three trainings"), (12, "mean of 12 trainings")],
)
def test_cautions_name_the_number_of_seeds(runs: int, words: str) -> None:
    told = answer_of(0.9, 0.9, runs=runs)
    assert any(words in caution for caution in told["cautions"])
    assert ("on average over" in told["headline"]) == (runs > 1)


@pytest.mark.parametrize(
    ("sources", "shared", "words"),
    [
        (67, 228, "228 of them (9.2\u00a0%) have a copy in training"),
        (67, 0, "several may be of one patient or one slide"),
        (float("nan"), float("nan"), "The sources of the images are not known"),
    ],
)
def test_cautions_name_the_shared_sources(sources: float, shared: float, words: str) -> None:
    assert any(words in caution for caution in answer_of(0.9, 0.9, sources=sources, shared=shared)["cautions"])


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("photographs", "A source is a photograph; several may be of one patient"),
        ("images", "A source is all images that show the same cells; several may be of one patient"),
        ("groups", "where the configuration's section sources gives them different sources"),
        ("each", "where the configuration's section sources gives them different sources"),
    ],
)
def test_cautions_say_what_a_source_is(method: str, words: str) -> None:
    results = results_of((*OWN, 0.9), (*ENHANCED, 0.9))
    dataset = {"photographs": "cells"} if method == "photographs" else {"labels": "labels.csv"}
    cautions = answer.answer(results, config_of(dataset=dataset, sources={"method": method}))["cautions"]
    assert any(words in caution for caution in cautions)


@pytest.mark.parametrize(
    ("thin", "words"),
    [
        (4, "were all of them right, its recall could still be as low as 40\u00a0%, and no difference in it could be"),
        (8, "as low as 63\u00a0%, and no interval of a difference in it is given."),
        (40, None),
    ],
)
def test_cautions_say_what_a_class_of_few_sources_can_show(thin: int, words: str | None) -> None:
    told = [caution for caution in answer_of(0.9, 0.9, thin=thin)["cautions"] if "is tested by" in caution]
    assert len(told) == (4 if words else 0)
    assert all(words in caution for caution in told if words)
    if thin == 4:
        assert told[2].startswith("The class Monocyte is tested by four sources")
        # Of the 2**4 ways to exchange the arms of four sources two are the most extreme.
        assert told[2].endswith("can give is 0.12.")


@pytest.mark.parametrize(("accuracies", "learned"), [((0.25, 0.26), False), ((0.25, 0.60), True), ((0.9, 0.9), True)])
def test_guessing_is_called_no_answer(accuracies: tuple[float, float], learned: bool) -> None:
    """Four classes: an accuracy of a quarter is what guessing gives."""
    told = answer_of(*accuracies)
    assert (told["verdict"] == "nothing learned") is not learned
    assert ("better than guessing" in told["lead"]) is not learned


@pytest.mark.parametrize(
    ("archive", "drawn"), [("data/drawn.zip", True), ("data/archive.zip", False), ("drawn.zip/mine", False)]
)
def test_drawn_cells_are_called_drawn_whatever_the_numbers(archive: str, drawn: bool) -> None:
    config = {"dataset": {"archive": archive}}
    told = answer_of(0.5, 0.99, (0.4, 0.6), **config)
    assert told["lead"].startswith("A demonstration: these cells are drawn") == drawn
    assert any("points the other way" in detail for detail in told["details"]) != drawn
    assert any("drawn by a program" in limit for limit in wording.limitations(None, config_of(**config))) == drawn


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        ((0.05, 0.15), "Real-ESRGAN ×4 did better than that"),
        ((-0.09, -0.01), "did worse than that"),
        ((-0.01, 0.03), "shows no detectable difference from that (+1.0 points, 95\u00a0% interval −1.0 to +3.0)"),
        (None, "hardly differs from that (+1.0 points)"),
    ],
)
def test_interpolation_is_the_control(interval: tuple[float, float] | None, words: str) -> None:
    arms = [(*OWN, 0.9), ("bicubic_x4", "bicubic_x4", 0.89), (*ENHANCED, 0.9)]
    differences = {(*ENHANCED, "bicubic_x4", "bicubic_x4"): interval} if interval else {}
    details = answer.answer(results_of(*arms, differences=differences), config_of())["details"]
    control = [detail for detail in details if detail.startswith("With bicubic ×4, accuracy was 89.0")]
    assert len(control) == 1
    assert words in control[0]


def test_dual_training_is_told_where_there_is_one() -> None:
    arms = [(*OWN, 0.80), (*ENHANCED, 0.80), ("dual", "original", 0.90), ("dual", "realesrgan_x4", 0.80)]
    differences = {
        ("dual", "original", *OWN): (0.05, 0.15),
        ("dual", "realesrgan_x4", *ENHANCED): (-0.05, 0.05),
    }
    details = answer.answer(results_of(*arms, differences=differences), config_of())["details"]
    assert "on original images it is more accurate than" in details[-1]
    assert "(+10.0 points, 95\u00a0% interval +5.0 to +15.0)" in details[-1]
    assert "on Real-ESRGAN ×4 images it shows no detectable difference from" in details[-1]
    assert "(0.0 points, 95\u00a0% interval −5.0 to +5.0)" in details[-1]
    assert not any("Dual training" in detail for detail in answer_of(0.8, 0.8, dual=False)["details"])


def test_enlargement_added_after_training_is_told() -> None:
    arms = [(*OWN, 0.9), (*ENHANCED, 0.9), ("original", "realesrgan_x4", 0.7)]
    differences = {("original", "realesrgan_x4", *OWN): (-0.3, -0.1)}
    details = answer.answer(results_of(*arms, differences=differences), config_of())["details"]
    (told,) = (detail for detail in details if detail.startswith("Tested on Real-ESRGAN ×4 images"))
    assert "is less accurate than" in told
    assert "(−20.0 points, 95\u00a0% interval −30.0 to −10.0)" in told


def test_a_further_input_size_is_told() -> None:
    arms = [
        (*OWN, 0.8),
        (*ENHANCED, 0.8),
        ("original_448px", "original", 0.8),
        ("realesrgan_x4_448px", ENHANCED[0], 0.9),
    ]
    differences = {("realesrgan_x4_448px", ENHANCED[0], "original_448px", "original"): (0.05, 0.15)}
    config = config_of(train={"extra_input_sizes": [448]})
    told = answer.answer(results_of(*arms, differences=differences), config)["details"][-1]
    assert "448 pixels" in told
    assert "Real-ESRGAN ×4 images is more accurate than" in told
    assert "(+10.0 points, 95\u00a0% interval +5.0 to +15.0)" in told


def test_nothing_is_concluded_without_an_enlarged_variant() -> None:
    config = config_of(variants=["original"], dual=False)
    told = answer.answer(results_of((*OWN, 0.9)), config)
    assert told["verdict"] == "not asked"
    assert "90.0\u00a0% on 2,487 test images" in told["headline"]
    assert told["details"] == []
