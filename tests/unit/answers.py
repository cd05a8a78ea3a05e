"""The tables from which the text of the answer is made, in memory."""

from __future__ import annotations

import itertools
import math
import re
from html import unescape
from typing import Any

import pandas as pd

from defaults import config_of
from wbcsr.report import answer
from wbcsr.report.page import ENVIRONMENT, facts
from wbcsr.stats import controls
from wbcsr.stats import differences as differences_module
from wbcsr.stats.verdicts import Verdict, judged
from wbcsr.study import published


def results_of(
    *arms: tuple[str, str, float],
    images: int = 2487,
    sources: float = 67,
    shared: float = 0,
    runs: int = 3,
    differences: dict[tuple[str, str, str, str], tuple[float, float]] | None = None,
    p_value: float = 0.01,
    reason: str = "few_differing",
    split: str = "paper",
    subset: str = "test",
    thin: int = 40,
) -> dict[str, pd.DataFrame]:
    """The tables from which the text is made, in memory: (trained on, tested on, accuracy) of each arm.

    `differences` has the interval of each comparison, by both arms; other comparisons have no interval, for `reason`.
    `thin` is the number of test sources of each class.
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
        finding = Verdict.UNKNOWN if reason == "few_sources" else Verdict.NOT_DETECTABLE
        if p_value < 0.05 and low * high > 0:
            finding = Verdict.HIGHER if low > 0 else Verdict.LOWER
        compared.append(
            {
                **{"split": split, "subset": subset, "trained_on": one[0], "tested_on": one[1]},
                **{"against_trained_on": other[0], "against_tested_on": other[1], "question": "enlargement"},
                **{"reason": reason if math.isnan(low) else "", "images": images, "sources": sources},
                **{"metric_effective_sources": 8.0, "metric_differing": 3.0},
                **{"metric_difference": accuracies[one] - accuracies[other], "metric_low": low, "metric_high": high},
                **{"metric": "macro_recall", "metric_reason": reason if math.isnan(low) else "", "margin": 0.03},
                **{"p_metric_holm": p_value, "finding": finding, "verdict": judged(finding, runs), "seeds": runs},
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
        "controls": pd.DataFrame(columns=controls.COLUMNS),
    }


OWN = ("original", "original")
ENHANCED = ("realesrgan_x4", "realesrgan_x4")
MAIN = (*ENHANCED, *OWN)


def together(*parts: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    return {name: pd.concat([part[name] for part in parts]) for name in parts[0]}


def answer_of(
    original: float, enlarged: float, interval: tuple[float, float] | None = None, **more: Any
) -> dict[str, Any]:
    """The answer for original and Real-ESRGAN ×4; validation and test images have the same accuracies."""
    sections = {name: more.pop(name) for name in ("dataset", "dual") if name in more}
    arms = ((*OWN, original), (*ENHANCED, enlarged))
    differences = {MAIN: interval} if interval else {}
    tested = results_of(*arms, differences=differences, **more)
    validation = results_of(*arms, images=1989, sources=251, shared=1989, subset="validation")
    return answer.answer(together(tested, validation), config_of(**sections))


def prose(result: dict[str, Any]) -> str:
    """The complete text of the answer."""
    return " ".join([result["lead"], *result["sentences"], result["published"], *result["cautions"]])


def page_part(name: str, config: dict[str, Any], **more: Any) -> str:
    """The text of a part of the page that follows from the configuration, without its tags."""
    html = ENVIRONMENT.get_template(f"{name}.html.j2").render(**facts(config), **more)
    return " ".join(re.sub(r"<[^>]*>", " ", unescape(html)).split())
