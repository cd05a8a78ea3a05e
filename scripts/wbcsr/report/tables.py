"""The report's tables of accuracies, of cost, and the study's Tables 2 to 6 with its values beside ours.

A table is a dictionary: `id`, `caption` and `note` (text), `head` (the heading of the first column), `groups` (pairs
of a heading and the number of columns under it, from the second column on; empty without such headings), `columns`
(heading, and whether it is the study's), `texts` (how many columns after the first hold words), and `bodies`: blocks
of rows under a title, which may be empty. A table without columns has nothing to show, and its note says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from wbcsr.errors import InputError
from wbcsr.evaluate import SUBSETS, class_labels, cost, differences, study, variant_label
from wbcsr.evaluate.scores import Plan, score
from wbcsr.evaluate.table import read_table
from wbcsr.evaluate.tables import read_leakage
from wbcsr.report import wording

Table = dict[str, Any]

COLUMNS = {
    "table2": ["class", "train", "test", "total"],
    "table3": ["class", "precision", "recall", "f1", "support"],
    "table4": ["class", "precision", "recall", "f1", "support"],
    "table5": ["actual"],
    "table6": ["actual"],
    "comparison": [
        *("split", "trained_on", "tested_on", "subset", "reason"),
        *("images", "unknown", "sources", "shared", "runs", "accuracy", "accuracy_sd", "accuracy_low", "accuracy_high"),
        *("macro_f1", "study_accuracy", "difference_to_original"),
    ],
    "differences": differences.COLUMNS,
    "recalls": differences.RECALL_COLUMNS,
    "calibration": [
        *("split", "trained_on", "tested_on", "subset"),
        *("images", "ece", "confidence", "accuracy", "auc", "average_precision"),
    ],
    "cost": [*cost.TEXTS, *cost.NUMBERS],
}
TEXTS = {
    "comparison": 5,
    "differences": differences.TEXTS,
    "recalls": differences.RECALL_TEXTS,
    "calibration": 4,
    "cost": len(cost.TEXTS),
}
MEASURES = {"precision": "Precision", "recall": "Recall", "f1": "F1 score", "support": "Support"}
AVERAGES = ["Accuracy", "Macro average", "Weighted average"]
NO_ENLARGED = "Nothing to show: the configuration names no enlarged variant."


def read_tables(paths: Iterable[Path], leakage: Path) -> dict[str, pd.DataFrame]:
    """The tables that the report shows, by name; an empty cell of a column of numbers is NaN.

    The table `leakage` is of `wbcsr.evaluate.tables.read_leakage`. InputError where one is missing among `paths`, lacks
    a column or has words for numbers.
    """
    found = {path.stem: path for path in paths if path.suffix == ".csv"}
    tables = {"leakage": read_leakage(leakage)}
    for name, columns in COLUMNS.items():
        if name not in found:
            raise InputError(f"report: {name}.csv is not among the tables; run the rule make_tables")
        tables[name] = read_table(found[name], columns, TEXTS.get(name, 1))
    return tables


def comparison_table(comparison: pd.DataFrame, plan: Plan) -> Table:
    """The accuracies: a block of rows for each split and subset, with what stands behind them in its title."""
    known = bool(comparison["study_accuracy"].notna().any())
    headings = ["Tested on", "Accuracy", "95\u00a0% interval", "Difference", "SD", "Runs"]

    def cells(arm: pd.Series) -> list[str]:
        reference = arm["trained_on"] == arm["tested_on"] == "original"
        return [
            variant_label(arm["tested_on"]),
            wording.percent(arm["accuracy"]),
            wording.interval(arm["accuracy_low"], arm["accuracy_high"]),
            "reference" if reference else wording.points(arm["difference_to_original"]),
            "" if pd.isna(arm["accuracy_sd"]) else f"{100 * arm['accuracy_sd']:.1f}",
            whole(arm["runs"]),
            *["" if pd.isna(arm["study_accuracy"]) else wording.percent(arm["study_accuracy"])] * known,
        ]

    named = bool(comparison["sources"].notna().any())
    note = "Accuracy: mean over the runs, one for each seed; SD: their standard deviation in points. "
    note += (
        "Interval: of the mean over sources; none where they are too few. "
        if named
        else "Interval: of the mean over the images, whose sources are not known. "
    )
    note += "Difference: points to training and testing on original images of the same split and subset. "
    return {
        "id": "comparison-table",
        "caption": "Accuracy of every training variant, on images that it was not trained on",
        "head": "Trained on",
        "groups": [],
        "columns": [table_column(heading) for heading in headings] + [table_column("Study", study=True)] * known,
        "texts": 1,
        "bodies": _blocks(comparison, plan, cells),
        "note": note + "From results/tables/comparison.csv.",
    }


def f1_table(comparison: pd.DataFrame, plan: Plan) -> Table:
    """The mean F1 scores of the comparison: macro, and of each class."""
    headings = ["Tested on", "Macro", *class_labels(plan.classes)]
    measures = ["macro_f1", *(f"f1_{name}" for name in plan.classes)]
    return {
        "id": "f1-table",
        "caption": "F1 score of each class",
        "head": "Trained on",
        "groups": [],
        "columns": [table_column(heading) for heading in headings],
        "texts": 1,
        "bodies": _blocks(
            comparison,
            plan,
            lambda arm: [variant_label(arm["tested_on"]), *(f"{arm[measure]:.3f}" for measure in measures)],
        ),
        "note": "Mean over the runs. Macro: the plain mean over the classes.",
    }


def _blocks(comparison: pd.DataFrame, plan: Plan, cells: Callable[[pd.Series], list[str]]) -> list[dict[str, Any]]:
    """A block for each split and subset, and in it a row for each arm that was tested on what it was trained on."""
    comparison = plan.own(comparison)
    blocks = []
    for split in plan.splits:
        for subset in SUBSETS:
            arms = comparison[(comparison["split"] == split) & (comparison["subset"] == subset)]
            if not arms.empty:
                rows = [table_row(variant_label(arm["trained_on"]), cells(arm)) for _, arm in arms.iterrows()]
                title = f"{subset.capitalize()}, split {split}: {_behind(arms.iloc[0])}"
                blocks.append({"title": title, "rows": rows})
    return blocks


def _behind(arm: pd.Series) -> str:
    """How many images an accuracy is of, how many sources, and how many copies of them were seen in training."""
    told = f"{arm['images']:,} images"
    if pd.isna(arm["sources"]):
        return f"{told}, sources not known"
    share = wording.percent(arm["shared"] / arm["images"])
    return f"{told} of {int(arm['sources']):,} sources, {share} with a copy in training"


def cost_table(data: pd.DataFrame, plan: Plan) -> Table:
    """What each training variant cost beside its accuracy: a block of rows for each split."""
    printed = cost.printed(data).set_index([("", "Split"), ("", "Trained on")])
    tops = [top for top, _ in printed.columns]
    blocks = []
    for split in plan.splits:
        rows = [table_row(name, list(cells)) for name, cells in printed.loc[split].T.items()]
        blocks.append({"title": f"Split {split}", "rows": rows})
    return {
        "id": "cost-table",
        "caption": "What each training variant cost, and its accuracy on the test images",
        "head": "Trained on",
        "groups": [(top, tops.count(top)) for top in dict.fromkeys(tops)],
        "columns": [table_column(heading) for _, heading in printed.columns],
        "texts": 0,
        "bodies": blocks,
        "note": cost.explanation(data),
    }


def study_tables(tables: dict[str, pd.DataFrame], plan: Plan) -> list[Table]:
    """Tables 2 to 6; Tables 3 and 5 are of `original`, Tables 4 and 6 of the enlarged variant."""
    arms = {"original": ("table3", "table5"), plan.enhanced: ("table4", "table6")}
    return [
        counts_table(tables["table2"], plan),
        *(scores_table(scores, tables[scores], variant, plan) for variant, (scores, _) in arms.items()),
        *(confusion_table(matrix, tables[matrix], variant, plan) for variant, (_, matrix) in arms.items()),
    ]


def counts_table(counts: pd.DataFrame, plan: Plan) -> Table:
    """Table 2: images of each class by published partition where there are any."""
    divided = "test" in plan.partitions
    headings = {**(plan.partitions if divided else {}), "total": "Total"}
    told = [name for name in headings if f"study_{name}" in counts]
    published = [f"study_{name}" for name in told if counts[f"study_{name}"].notna().any()]
    columns = [table_column(heading) for heading in headings.values()]
    columns += [table_column(headings[name.removeprefix("study_")], study=True) for name in published]
    labels = [*class_labels(plan.classes), "Total"]
    rows = [
        table_row(label, [whole(row[name]) for name in [*headings, *published]], summary=number == len(plan.classes))
        for number, (label, (_, row)) in enumerate(zip(labels, counts.iterrows(), strict=True))
    ]
    return {
        "id": "table2",
        "caption": f"Table 2. Images of each class{', by published partition' if divided else ''}",
        "head": "Class",
        "groups": _sides(len(headings), len(published)),
        "columns": columns,
        "texts": 0,
        "bodies": [{"title": "", "rows": rows}],
        "note": "",
    }


def scores_table(name: str, scores: pd.DataFrame, variant: str | None, plan: Plan) -> Table:
    """Tables 3 and 4: the scores of each class and their averages."""
    table = _empty(name, f"Precision, recall and F1 score{_of(variant)}", "Class")
    if variant is None:
        return table
    matrix = _published_matrix(variant, plan)
    published = None if matrix is None else _published_scores(matrix)
    rows = []
    for number, (label, (_, row)) in enumerate(
        zip([*class_labels(plan.classes), *AVERAGES], scores.iterrows(), strict=True)
    ):
        cells = []
        for measure in MEASURES:
            show = whole if measure == "support" else _ratio
            cells.append(show(row[measure]))
            if published is not None:
                cells.append(show(published[measure].iloc[number]))
        rows.append(table_row(label, cells, summary=number >= len(plan.classes)))
    if published is None:
        table["columns"] = [table_column(heading) for heading in MEASURES.values()]
    else:
        table["groups"] = [(heading, 2) for heading in MEASURES.values()]
        table["columns"] = [table_column("here"), table_column("study", study=True)] * len(MEASURES)
    return {**table, "bodies": [{"title": "", "rows": rows}], "note": _first_training(plan)}


def confusion_table(name: str, matrix: pd.DataFrame, variant: str | None, plan: Plan) -> Table:
    """Tables 5 and 6: the confusion matrix; `right` of a row are the numbers of its cells on the diagonal."""
    table = _empty(name, f"Confusion matrix{_of(variant)}", "Actual")
    if variant is None:
        return table
    published = _published_matrix(variant, plan)
    labels = class_labels(plan.classes)
    rows = []
    for number, (label, (_, row)) in enumerate(zip(labels, matrix.iterrows(), strict=True)):
        counts = [*row.iloc[1:], *([] if published is None else published.iloc[number])]
        rows.append(table_row(label, [whole(count) for count in counts], right=[number, number + len(labels)]))
    table["columns"] = [table_column(label) for label in labels]
    if published is not None:
        table["columns"] += [table_column(label, study=True) for label in labels]
    return {
        **table,
        "groups": _sides(len(labels), 0 if published is None else len(labels)),
        "bodies": [{"title": "", "rows": rows}],
        "note": f"Rows actual, columns predicted. {_first_training(plan)}",
    }


def _empty(name: str, title: str, head: str) -> Table:
    caption = f"Table {name.removeprefix('table')}. {title}"
    return {
        **{"id": name, "caption": caption, "head": head, "texts": 0, "note": NO_ENLARGED},
        **{"groups": [], "columns": [], "bodies": []},
    }


def _of(variant: str | None) -> str:
    return "" if variant is None else f", trained and tested on {variant_label(variant)}"


def _first_training(plan: Plan) -> str:
    trainings = {"paper": "one training, as in the study", "by_source": "one training for each fold"}
    once = trainings.get(plan.splits[0], "one training")
    return f"Validation images of the split {plan.splits[0]}, {once} (seed {plan.seeds[0]})."


def _published_matrix(variant: str, plan: Plan) -> pd.DataFrame | None:
    """The study's confusion matrix in the order of our classes, where it tells of this variant, split and classes."""
    if study.accuracy(plan.splits[0], variant, variant, "validation", plan.classes) is None:
        return None
    order = [name.upper() for name in plan.classes]
    return study.matrix(variant).loc[order, order]


def _published_scores(matrix: pd.DataFrame) -> pd.DataFrame:
    """The study's scores, which follow from its matrix: a row for each class, then accuracy and the two averages."""
    scores, images = score(matrix), int(matrix.to_numpy().sum())
    averages = [{"f1": scores.accuracy}, scores.macro, scores.weighted]
    return pd.concat([scores.by_class, pd.DataFrame(averages).assign(support=images)])


def _sides(ours: int, published: int) -> list[tuple[str, int]]:
    return [("This run", ours), ("The study", published)] if published else []


def table_column(heading: str, study: bool = False) -> dict[str, Any]:
    """A column of a table (see the module)."""
    return {"heading": heading, "study": study}


def table_row(head: str, cells: list[str], summary: bool = False, right: Iterable[int] = ()) -> dict[str, Any]:
    """A row: its `head`, its cells, whether it sums up those above, and the numbers of cells that are set off."""
    return {"head": head, "cells": cells, "summary": summary, "right": list(right)}


def whole(number: float) -> str:
    """A whole number, 1,989; empty for NaN."""
    return "" if pd.isna(number) else f"{int(number):,}"


def _ratio(number: float) -> str:
    return "" if pd.isna(number) else f"{number:.2f}"
