"""Figures 10 to 12: accuracy, recall and F1 score of each class, original beside enhanced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from wbcsr.present.figures.accuracies import STUDY_MARK
from wbcsr.present.style import BLUE, ORANGE, SINGLE_COLUMN, wrapped
from wbcsr.present.tables.study import published_matrix
from wbcsr.stats.intervals import Estimate
from wbcsr.stats.scores import score
from wbcsr.study.labels import variant_label
from wbcsr.study.plan import Plan

# The measure that each figure shows, by a name of `wbcsr.stats.endpoints.class_scores`.
FIGURES = {"fig10": "accuracy", "fig11": "recall", "fig12": "f1"}
MEASURES = {"accuracy": "Accuracy", "recall": "Recall", "f1": "F1 score"}
COLOURS = (ORANGE, BLUE)
# Height of the part of a row that the bars of a class share.
ROW = 0.76


def draw_classes(scores: Mapping[str, dict[str, dict[str, Estimate]]], measure: str, plan: Plan) -> Figure:
    """Bars of a measure of each class, one for each of at most two variants, with their 95 % intervals over sources.

    `scores` has the `class_scores` of each variant. Hollow diamonds are the study's values. A class without images has
    no bar.
    """
    labels = [wrapped(label, 22) for label in plan.labels.values()]
    figure = Figure(figsize=(SINGLE_COLUMN, 0.85 + 0.4 * len(labels)))
    axis = figure.subplots()
    share, has_study = ROW / len(scores), False
    keys: list[Any] = []
    for number, (variant, colour) in enumerate(zip(scores, COLOURS, strict=False)):
        found, matrix = scores[variant][measure], published_matrix(variant, plan)
        heights = {name: row + share * (number + 0.5) - ROW / 2 for row, name in enumerate(plan.classes)}
        places = [heights[name] for name in found]
        bars = axis.barh(places, [one.value for one in found.values()], 0.9 * share, color=colour)
        bars.set_label(variant_label(variant))
        keys.append(bars)
        for place, one in zip(places, found.values(), strict=True):
            axis.plot((one.low, one.high), (place, place), color="black", linewidth=0.9, solid_capstyle="butt")
        if matrix is not None:
            theirs = score(matrix).by_class[measure]
            axis.plot(theirs, list(heights.values()), linestyle="", **STUDY_MARK | {"markerfacecolor": "white"})
            has_study = True
    if has_study:
        keys.append(Line2D([], [], linestyle="", label="the study", **STUDY_MARK))
    axis.set_yticks(np.arange(len(labels)), labels)
    axis.set_ylim(len(labels) - 0.5, -0.5)
    axis.tick_params(axis="y", length=0)
    axis.set_xlim(0, 1.02)
    axis.set_xlabel(MEASURES[measure])
    axis.grid(axis="x", linewidth=0.4, color="#DDDDDD")
    axis.set_axisbelow(True)
    figure.legend(handles=keys, loc="outside upper center", ncols=3, columnspacing=1.2, handlelength=1.4)
    return figure
