"""The report's tables of what stands behind the accuracies and how sure their differences are; see `tables`.

All but the leakage are of the split and subset that the answer is read from (`Plan.judged`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from wbcsr.evaluate import SUBSETS, arm_label, class_labels, differences, study, summary_label, variant_label
from wbcsr.evaluate.scores import Plan
from wbcsr.evaluate.table import p_values
from wbcsr.report import wording
from wbcsr.report.results import find_result
from wbcsr.report.tables import NO_ENLARGED, Table, table_column, table_row, whole

COMPARED = ["Difference", "95\u00a0% interval", "Sources", "p", "p, Holm", "p, McNemar"]
MEASURES = {"recall": "Recall", "pair accuracy": "Right, of both classes", "pair confusion": "Taken for the other"}


def leakage_table(leakage: pd.DataFrame, comparison: pd.DataFrame, plan: Plan) -> Table:
    """What stands behind the accuracies: images, sources, and how many images have a copy of theirs in training.

    A block for each split and subset, with its accuracies in the last row, and at the end the study's own.
    """
    variants = ["original", *([plan.enhanced] if plan.enhanced else [])]

    def accuracies(split: str, subset: str) -> list[str]:
        found = [find_result(comparison, split, name, name, subset) for name in variants]
        return [wording.percent(result.accuracy) if result else "" for result in found]

    def behind(head: str, counts: pd.Series, told: list[str], summary: bool = False) -> dict[str, Any]:
        known = counts["images"] - counts["unknown"]
        shared = f"{whole(counts['shared'])} ({wording.percent(counts['shared'] / known)})" if known else ""
        sources = whole(counts["sources"]) if known else "not known"
        return table_row(head, [whole(counts["images"]), sources, shared, *told], summary)

    blocks = []
    for split in plan.splits:
        for subset in SUBSETS:
            rows = [
                behind(label, leakage.loc[split, subset, name], [""] * len(variants))
                for label, name in zip(class_labels(plan.classes), plan.classes, strict=True)
            ]
            rows.append(
                behind(
                    summary_label("All", plan.classes),
                    leakage.loc[split, subset, ""],
                    accuracies(split, subset),
                    summary=True,
                )
            )
            blocks.append({"title": f"{subset.capitalize()}, split {split}", "rows": rows})
    published = [study.accuracy("paper", name, name, "validation", plan.classes) for name in variants]
    if None not in published:
        counts = pd.Series(
            {
                "images": study.VALIDATION_IMAGES,
                "sources": study.VALIDATION_SOURCES,
                "unknown": 0,
                "shared": study.VALIDATION_SHARED,
            }
        )
        told = [wording.percent(float(value)) for value in published if value is not None]
        blocks.append(
            {"title": "The study’s own validation images", "rows": [behind("All", counts, told, summary=True)]}
        )
    note = "A source is what an image was made from; a copy is another image of the same source. "
    if None not in published:
        note += "The study’s: its accuracies, and this project’s audit of the whole archive. "
    return _table(
        "leakage-table",
        "What stands behind each accuracy: independent sources, and copies in training",
        "Class",
        ["Images", "Sources", "With a copy in training", *(f"Accuracy, {variant_label(name)}" for name in variants)],
        blocks,
        note + "From results/splits/leakage.csv.",
    )


def differences_table(data: pd.DataFrame, plan: Plan) -> Table:
    """The comparisons of arms: a block for each question."""
    split, subset = plan.judged
    asked = _judged(data, plan)

    def compared(pair: pd.Series) -> dict[str, Any]:
        against = arm_label(pair["against_trained_on"], pair["against_tested_on"])
        return table_row(arm_label(pair["trained_on"], pair["tested_on"]), [against, *_compared(pair)])

    return _table(
        "differences-table",
        f"Differences in accuracy on the {subset} images of the split {split}",
        "Arm",
        ["Against", *COMPARED],
        _blocks(asked, "question", differences.QUESTIONS, compared),
        f"{_of_tests(asked)} From results/tables/differences.csv, which has the other subsets too.",
        texts=1,
    )


def recalls_table(data: pd.DataFrame, plan: Plan) -> Table:
    """What the enlargement changes for each class, and for the pair that the study is about."""
    split, subset = plan.judged
    asked = _judged(data, plan)
    labels = dict(zip(plan.classes, class_labels(plan.classes), strict=True))
    pair = study.pair(plan.classes)
    if pair:
        labels[" and ".join(pair)] = " and ".join(labels[name].lower() for name in pair)

    def compared(recall: pd.Series) -> dict[str, Any]:
        shares = [wording.percent(recall["against"]), wording.percent(recall["share"])]
        return table_row(labels[recall["of"]], [*shares, *_compared(recall)])

    return _table(
        "recalls-table",
        f"Each class{' and the pair that the study is about' if pair else ''}, {subset}, split {split}",
        "Class",
        ["Original", variant_label(plan.enhanced) if plan.enhanced else "", *COMPARED],
        _blocks(asked, "measure", MEASURES, compared),
        f"{_of_tests(asked)} From results/tables/recalls.csv.",
    )


def cross_table(comparison: pd.DataFrame, plan: Plan) -> Table:
    """Accuracy by what a classifier was trained on (rows) and is given (columns)."""
    split, subset = plan.judged
    rows = []
    for training in plan.trainings:
        found = [find_result(comparison, split, training, variant, subset) for variant in plan.variants]
        cells = [wording.percent(result.accuracy) if result else "" for result in found]
        own = [number for number, variant in enumerate(plan.variants) if plan.is_own(training, variant)]
        rows.append(table_row(variant_label(training), cells, right=own))
    table = _table(
        "cross-table",
        f"Trained on one kind of image, given another: accuracy on the {subset} images of the split {split}",
        "Trained on",
        list(map(variant_label, plan.variants)),
        [{"title": "", "rows": rows}],
        "Mean over the runs. Bold: tested on what it was trained on. From results/tables/comparison.csv.",
    )
    return {**table, "groups": [("Tested on", len(plan.variants))]}


def calibration_table(data: pd.DataFrame, plan: Plan) -> Table:
    """What the probabilities are worth: a row for each arm that was tested on what it was trained on."""
    split, subset = plan.judged
    measures = ("ece", "confidence", "accuracy", "auc", "average_precision")
    rows = [
        table_row(
            variant_label(arm["trained_on"]),
            [variant_label(arm["tested_on"]), *(f"{arm[name]:.3f}" for name in measures)],
        )
        for _, arm in plan.own(_judged(data, plan)).iterrows()
    ]
    return _table(
        "calibration-table",
        f"What the probabilities are worth: {subset} images of the split {split}",
        "Trained on",
        ["Tested on", "ECE", "Confidence", "Accuracy", "AUC", "AP"],
        [{"title": "", "rows": rows}],
        "ECE: expected calibration error in 15 bins, above 0 by chance alone where images are few. AUC and AP "
        "(average precision): means over the classes; of folds they are of all images together, which makes them "
        "rather smaller than within a fold. From results/tables/calibration.csv.",
        texts=1,
    )


def _table(
    id: str, caption: str, head: str, headings: list[str], bodies: list[dict[str, Any]], note: str, texts: int = 0
) -> Table:
    """A table without headings of two levels; one without rows has nothing to show."""
    columns = list(map(table_column, headings))
    if not bodies:
        columns, note = [], NO_ENLARGED
    return {
        **{"id": id, "caption": caption, "head": head, "groups": [], "columns": columns},
        **{"texts": texts, "bodies": bodies, "note": note},
    }


def _judged(data: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    split, subset = plan.judged
    return data[(data["split"] == split) & (data["subset"] == subset)]


def _blocks(
    data: pd.DataFrame, name: str, titles: dict[str, str], show: Callable[[pd.Series], dict[str, Any]]
) -> list[dict[str, Any]]:
    """The rows of a table in blocks, by the values of its column `name` that have `titles`."""
    blocks = [(title, data[data[name] == value]) for value, title in titles.items()]
    return [
        {"title": title, "rows": [show(found) for _, found in rows.iterrows()]} for title, rows in blocks if len(rows)
    ]


def _compared(found: pd.Series) -> list[str]:
    """The cells under `COMPARED`."""
    ends = "–" if pd.isna(found["low"]) else f"{wording.points(found['low'])} to {wording.points(found['high'])}"
    return [
        wording.points(found["difference"]),
        ends,
        "not known" if pd.isna(found["sources"]) else whole(found["sources"]),
        *p_values(found[["p_sources", "p_holm", "p_mcnemar"]]),
    ]


def _of_tests(rows: pd.DataFrame) -> str:
    told = (
        "Differences in points, means over the seeds; intervals and p over sources (the two arms exchanged source by "
        "source); Holm: corrected for all rows of this table; McNemar: of the first seed’s images, which it takes for "
        "independent, so it is too small where they share sources."
    )
    if rows["sources"].isna().any():
        told += " No source is known, so every image counts as one of its own."
    reasons = sorted(set(rows["reason"]) - {""})
    if reasons:
        told += f" No interval: {'; '.join(wording.merged(reasons))}."
    return told
