"""Arms held against one another on the same images: which comparisons the question calls for, and how sure each is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from wbcsr.config import parse_training
from wbcsr.stats.intervals import Comparison, compare, compare_pair, compare_recalls, holm
from wbcsr.stats.predictions import Arm
from wbcsr.study import published
from wbcsr.study.plan import Plan

COLUMNS = [
    *("split", "subset", "question", "trained_on", "tested_on", "against_trained_on", "against_tested_on", "reason"),
    *(
        "images",
        "sources",
        "effective_sources",
        "differing",
        "difference",
        "low",
        "high",
        "p_sources",
        "p_holm",
        "p_mcnemar",
    ),
]
# The first so many hold words.
TEXTS = 8
RECALL_COLUMNS = [
    *("split", "subset", "measure", "of", "trained_on", "against_trained_on", "reason"),
    *("images", "sources", "effective_sources", "differing", "share", "against"),
    *("difference", "low", "high", "p_sources", "p_holm", "p_mcnemar"),
]
RECALL_TEXTS = 7


class Pair(NamedTuple):
    """Two arms of one split and subset: `arm` minus `against` answers `question`."""

    question: str
    arm: Arm
    against: Arm


def pairs(arms: list[Arm], plan: Plan) -> list[Pair]:
    """The comparisons that the arms of one split and subset allow, in the order of `wbcsr.study.labels.QUESTIONS`.

    Enlargement: every variant against `original`, each trained and tested on its own. Control: the enhanced variant, if
    it is Real-ESRGAN's, against those that are interpolated. Dual: both together against each alone. Cross: tested on
    what the classifier was not trained on, against `original`. Size: each arm of a further input size against its own
    at the main size, and what is enlarged at it against `original` at it.
    """
    by_name = {(arm.trained_on, arm.tested_on): arm for arm in arms}

    def names() -> Iterator[tuple[str, tuple[str, str], tuple[str, str]]]:
        original, enhanced = "original", plan.enhanced
        others = [variant for variant in plan.variants if variant != original]
        for variant in others:
            yield "enlargement", (variant, variant), (original, original)
        for variant in others:
            if enhanced and enhanced.startswith("realesrgan") and not variant.startswith("realesrgan"):
                yield "control", (enhanced, enhanced), (variant, variant)
        for variant in plan.trainings.get("dual", []):
            yield "dual", ("dual", variant), (variant, variant)
        for variant in others:
            yield "cross", (original, variant), (original, original)
        for variant in others:
            yield "cross", (variant, original), (original, original)
        for training, variants in plan.trainings.items():
            name, size = parse_training(training)
            for variant in variants if size else []:
                yield "size", (training, variant), (name, variant)
                if name not in (original, "dual"):
                    yield "size", (training, variant), (f"{original}_{size}px", original)

    return [
        Pair(question, by_name[one], by_name[other])
        for question, one, other in names()
        if one in by_name and other in by_name
    ]


def differences(arms: list[Arm], plan: Plan) -> pd.DataFrame:
    """A row for each of `pairs`, of all splits and subsets, with `COLUMNS`.

    `difference` (a share, of the images in `images`) is the mean over the seeds, `low` and `high` the ends of its 95 %
    interval over sources, NaN where there can be none, for `reason`; see `wbcsr.stats.intervals.compare`.
    `p_sources` is the test over sources, `p_holm` the same corrected for all comparisons of the split and subset,
    `p_mcnemar` McNemar's of the first seed. `sources` is NaN where no source is known; every image then counts as one.
    """
    blocks = []
    for block in _blocks(arms):
        rows = [_pair_row(pair) for pair in pairs(block, plan)]
        blocks.append(_corrected(pd.DataFrame(rows, columns=[name for name in COLUMNS if name != "p_holm"])))
    return pd.concat(blocks, ignore_index=True)[COLUMNS]


def recalls(arms: list[Arm], plan: Plan) -> pd.DataFrame:
    """How the enhanced variant changes what is found of each class, for each split and subset, with `RECALL_COLUMNS`.

    `measure` recall: the share of a class's images that were found. For the two classes that the study is about, where
    the data set has them, also `pair accuracy`, of the images of both, and `pair confusion`, the share of them that was
    taken for the other. `share` is with the enhanced images, `against` with the original ones; otherwise as in
    `differences`. Empty without an enlarged variant.
    """
    blocks = [pd.DataFrame(columns=RECALL_COLUMNS)]
    for block in _blocks(arms):
        by_name = {(arm.trained_on, arm.tested_on): arm for arm in block}
        arm, against = by_name.get((str(plan.enhanced),) * 2), by_name.get(("original",) * 2)
        if arm and against:
            rows = [_recall_row(arm, against, *found) for found in _recalls(arm, against, plan)]
            blocks.append(_corrected(pd.DataFrame(rows)))
    return pd.concat(blocks, ignore_index=True)[RECALL_COLUMNS]


def _blocks(arms: list[Arm]) -> Iterator[list[Arm]]:
    """The arms of each split and subset, which were tested on the same images."""
    for key in dict.fromkeys((arm.split, arm.subset) for arm in arms):
        yield [arm for arm in arms if (arm.split, arm.subset) == key]


def _pair_row(pair: Pair) -> dict[str, object]:
    arm, against = pair.arm, pair.against
    rows = arm.independent
    found = compare(arm.correct, against.correct, rows["source"], rows["class"])
    return {
        "split": arm.split,
        "subset": arm.subset,
        "question": pair.question,
        "trained_on": arm.trained_on,
        "tested_on": arm.tested_on,
        "against_trained_on": against.trained_on,
        "against_tested_on": against.tested_on,
        **_numbers(found, arm),
    }


def _recalls(arm: Arm, against: Arm, plan: Plan) -> Iterator[tuple[str, str, Comparison]]:
    rows = arm.independent
    by_class = compare_recalls(arm.correct, against.correct, rows["source"], rows["class"])
    for name in plan.classes:
        if name in by_class:
            yield "recall", name, by_class[name]
    pair = published.pair(plan.classes)
    if pair and set(pair) <= by_class.keys():
        one, other = (
            np.array([names[rows.index] for names in each.predicted.values()], dtype=str) for each in (arm, against)
        )
        both = " and ".join(pair)
        accuracy, confusion = compare_pair(one, other, rows["source"], rows["class"], pair)
        yield "pair accuracy", both, accuracy
        yield "pair confusion", both, confusion


def _recall_row(arm: Arm, against: Arm, measure: str, of: str, found: Comparison) -> dict[str, object]:
    return {
        "split": arm.split,
        "subset": arm.subset,
        "measure": measure,
        "of": of,
        "trained_on": arm.trained_on,
        "against_trained_on": against.trained_on,
        "share": found.a.value,
        "against": found.b.value,
        **_numbers(found, arm),
    }


def _numbers(found: Comparison, arm: Arm) -> dict[str, object]:
    estimate = found.difference
    return {
        "reason": estimate.reason,
        "images": estimate.images,
        "sources": estimate.sources if arm.has_sources else np.nan,
        "effective_sources": estimate.effective_sources,
        "differing": estimate.differing,
        "difference": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "p_sources": found.p_sources,
        "p_mcnemar": found.p_mcnemar[0],
    }


def _corrected(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with `p_holm`, all of them taken for one family."""
    return rows.assign(p_holm=holm(rows["p_sources"]) if len(rows) else pd.Series(dtype=float))
