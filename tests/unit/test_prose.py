"""All sentences that the page makes from numbers, as one text: `make prose` writes it anew, and a change is read there.

Other tests check numbers, codes and names, and leave the words to this one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from answers import ENHANCED, MAIN, OWN, answer_of, page_part, results_of
from defaults import config_of
from results import arms_of, write_results
from wbcsr.present.tables.accuracies import comparison_table
from wbcsr.present.tables.calibration import calibration_table
from wbcsr.present.tables.differences import differences_table, recalls_table
from wbcsr.present.tables.endpoints import correlation_table, endpoints_table
from wbcsr.report import answer, limits, method
from wbcsr.stats.calibration import Probabilities, calibrations
from wbcsr.stats.comparison import compare_arms
from wbcsr.stats.correlation import correlations
from wbcsr.stats.counts import read_leakage
from wbcsr.stats.differences import differences, recalls
from wbcsr.stats.endpoints import endpoints

SNAPSHOT = Path(__file__).with_name("prose.txt")
ANSWERS: dict[str, tuple[tuple[float, float] | None, dict[str, Any]]] = {
    "higher": ((0.01, 0.06), {}),
    "lower, with few sources of each class": ((-0.06, -0.01), {"thin": 4}),
    "no detectable difference, one training": ((-0.03, 0.06), {"runs": 1, "p_value": 0.12}),
    "provisional, images with duplicates in training": ((0.01, 0.06), {"runs": 2, "shared": 228}),
    "no interval, few images": (None, {"images": 32, "sources": 12}),
    "too few sources": (None, {"reason": "few_sources"}),
    "sources not known": ((0.01, 0.06), {"sources": float("nan"), "shared": float("nan")}),
}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "the study": {},
    "drawn cells": {"dataset": {"archive": "data/drawn.zip"}, "train": {"init": "random"}},
    "own images, by source, larger inputs": {
        **{"dataset": {"classes": ["cat", "dog"], "limit_per_class": 10, "photographs": "photographs"}},
        **{"splits": ["by_source"], "view": {"around": "cell"}, "train": {"extra_input_sizes": [448]}},
    },
}


def answers() -> Iterator[tuple[str, list[str]]]:
    for name, (interval, more) in ANSWERS.items():
        told = answer_of(0.9, 0.9 + (float(np.mean(interval)) if interval else 0.02), interval, **more)
        yield f"answer: {name}", [told["lead"], *told["sentences"], told["published"], *told["cautions"]]
    against_bicubic = {MAIN: (0.01, 0.09), (*ENHANCED, "bicubic_x4", "bicubic_x4"): (-0.01, 0.05)}
    arms = [(*OWN, 0.9), ("bicubic_x4", "bicubic_x4", 0.92), (*ENHANCED, 0.95)]
    told = answer.answer(results_of(*arms, differences=against_bicubic), config_of())
    yield "answer: a gain that interpolation has, too", [told["lead"], *told["sentences"]]


def configurations() -> Iterator[tuple[str, list[str]]]:
    for name, sections in CONFIGURATIONS.items():
        config = config_of(**sections)
        images = {subset: {"a": 10} for subset in ("train", "validation", "test")}
        jobs = [
            {"rule": "split_dataset", "wildcards": {"split": split}, "images": images, "left_out": 2}
            for split in config["splits"]
        ]
        yield (
            f"configuration: {name}",
            [
                limits.resolution("realesrgan_x4", 320, 240, config),
                page_part("limits", config),
                *(f"{name}: {text}" for name, text in method.settings(config, jobs).items()),
            ],
        )


def notes(folder: Path) -> Iterator[tuple[str, list[str]]]:
    classes = ["EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL"]
    for name, copies in (("sources known", 2), ("sources not known", 0)):
        variants = ["original", "realesrgan_x4"]
        results = write_results(folder / name, classes, variants, seeds=(0, 1), per_class=24, copies=copies)
        arms, plan = arms_of(results), results.plan
        for table in (
            comparison_table(compare_arms(arms, read_leakage(results.leakage), plan)),
            differences_table(differences(arms, plan)),
            recalls_table(recalls(arms, plan), plan),
            endpoints_table(endpoints(arms), plan),
            correlation_table(correlations(arms)),
            calibration_table(calibrations(map(Probabilities.of, arms))),
        ):
            yield f"table: {table.title}, {name}", [table.caption, table.note, *(title for title, _ in table.bodies)]


def test_the_prose_is_that_of_the_snapshot(tmp_path: Path) -> None:
    parts = [*answers(), *configurations(), *notes(tmp_path)]
    text = "\n".join("\n".join([f"== {title}", *filter(None, lines), ""]) for title, lines in parts)
    if "RENEW_PROSE" in os.environ:
        SNAPSHOT.write_text(text, encoding="utf-8")
    assert text.splitlines() == SNAPSHOT.read_text(encoding="utf-8").splitlines()
