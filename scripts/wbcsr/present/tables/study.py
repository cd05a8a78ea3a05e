"""The study's Tables 2 to 6 of our own runs, with the numbers that the study published."""

from __future__ import annotations

import pandas as pd

from wbcsr.present.table import Table, fixed, number
from wbcsr.present.text import listed, number_texts
from wbcsr.stats.scores import AVERAGES, RATIOS, score_rows
from wbcsr.study import published
from wbcsr.study.labels import NO_ENHANCED, class_labels, summary_label, variant_label
from wbcsr.study.plan import Plan

# A table's headings together may have at most this number of characters.
PRINTED_WIDTH = 80
HEADINGS = {"precision": "Precision", "recall": "Recall", "f1": "F1 score", "support": "Support"}
HERE, THERE = "This run", "The study"


def study_tables(data: dict[str, pd.DataFrame], plan: Plan) -> list[Table]:
    """Tables 2 to 6; 3 and 5 show `original`, 4 and 6 the enhanced variant. `data` has the data of each by its name."""
    return [
        counts_table(data["table2"], plan),
        scores_table("table3", data["table3"], "original", plan),
        scores_table("table4", data["table4"], plan.enhanced, plan),
        confusion_table("table5", data["table5"], "original", plan),
        confusion_table("table6", data["table6"], plan.enhanced, plan),
    ]


def counts_table(data: pd.DataFrame, plan: Plan) -> Table:
    """Table 2: images of each class by published partition; `data` comes from `wbcsr.stats.counts.count_images`."""
    is_published = bool(data["study_total"].notna().any())
    uses = list(plan.partitions) if "test" in plan.partitions else []
    here = [number(use, use.capitalize(), ",.0f", HERE if is_published else "") for use in (*uses, "total")]
    there = [
        number(f"study_{use}", use.capitalize(), ",.0f", THERE, of_study=True)
        for use in (*uses, "total")
        if f"study_{use}" in data
    ]
    labels = [*class_labels(plan.classes), summary_label("Total", plan.classes)]
    where = listed([f"{name} ({use})" for use, name in plan.partitions.items()])
    caption = f", as published in {where}" if uses else ""
    return Table(
        "table2",
        "Table 2",
        f"Images of each class{caption}.",
        data,
        [fixed("class", "Class", labels, style="text"), *here, *there],
        note=f"The study: {published.CITATION}." if is_published else "",
        summaries=[len(labels) - 1],
    )


def scores_table(name: str, data: pd.DataFrame, variant: str | None, plan: Plan) -> Table:
    """Tables 3 and 4: scores of each class and their averages; `data` comes from `wbcsr.stats.scores.score_rows`."""
    averages = [summary_label(name.capitalize(), plan.classes) for name in AVERAGES]
    labels = [*class_labels(plan.classes), *averages]
    matrix = published_matrix(variant, plan)
    theirs = score_rows(matrix)
    columns = [fixed("class", "Class", labels[: len(data)], style="text")]
    for key, heading in HEADINGS.items():
        form = ".2f" if key in RATIOS else ",.0f"
        if matrix is None:
            columns.append(number(key, heading, form))
        else:
            there = number_texts(theirs[key], form)
            columns.append(number(key, "here", form, heading))
            columns.append(fixed(f"study_{key}", "study", there, heading, of_study=True))
    what = "Precision, recall and F1 score of each class"
    summaries = range(len(plan.classes), len(labels))
    return Table(name, _title(name), _caption(what, data, variant, plan), data, columns, summaries=summaries)


def confusion_table(name: str, data: pd.DataFrame, variant: str | None, plan: Plan) -> Table:
    """Tables 5 and 6: the confusion matrix; `data` comes from `wbcsr.stats.scores.confusion_rows`."""
    headings = labels = class_labels(plan.classes)
    if len("".join(labels)) > PRINTED_WIDTH:  # too wide for a page: the headings are the row numbers
        headings = [str(number) for number in range(1, len(labels) + 1)]
        labels = [f"{number} {label}" for number, label in zip(headings, labels, strict=True)]
    matrix = published_matrix(variant, plan)
    columns = [fixed("actual", "Actual", labels[: len(data)], style="text")]
    sides = [("here", HERE, data.iloc[:, 1:])] + ([("study", THERE, matrix)] if matrix is not None else [])
    for side, group, counts in sides:
        for at, heading in enumerate(headings):
            texts = number_texts(counts.iloc[:, at], ",.0f")
            above = group if matrix is not None else ""
            columns.append(fixed(f"{side}_{at}", heading, texts, above, of_study=side == "study"))
    return Table(
        name,
        _title(name),
        _caption("Confusion matrix, rows actual and columns predicted", data, variant, plan),
        data,
        columns,
        marked=[(at, f"{side}_{at}") for at in range(len(labels)) for side, _, _ in sides],
    )


def _title(name: str) -> str:
    return f"Table {name.removeprefix('table')}"


def _caption(what: str, data: pd.DataFrame, variant: str | None, plan: Plan) -> str:
    if variant is None or data.empty:
        return NO_ENHANCED
    split = plan.splits[0]
    trainings = {"paper": "one training, as in the study", "by_source": "one training for each fold"}
    return (
        f"{what}. Trained and tested on {variant_label(variant)} images; validation images of the split {split}; "
        f"{trainings.get(split, 'one training')} (seed {plan.seeds[0]})."
    )


def published_matrix(variant: str | None, plan: Plan) -> pd.DataFrame | None:
    """The study's confusion matrix in the order of our classes; None if it does not have this variant and split."""
    if (
        variant is None
        or published.accuracy(plan.splits[0], variant, variant, "validation", plan.published_classes) is None
    ):
        return None
    order = [name.upper() for name in plan.classes]
    return published.matrix(variant).loc[order, order]
