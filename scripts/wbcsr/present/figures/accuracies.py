"""The accuracies of all arms, and how they differ."""

from __future__ import annotations

import math
from itertools import cycle
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from wbcsr.present.style import (
    BLUE,
    DOUBLE_COLUMN,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SINGLE_COLUMN,
    SKY,
    VERMILLION,
    draw_notice,
    wrapped,
)
from wbcsr.present.tables.accuracies import METRICS
from wbcsr.stats.predictions import Arm
from wbcsr.study import published
from wbcsr.study.labels import NO_ENHANCED, QUESTIONS, arm_label
from wbcsr.study.plan import Plan

# Colour and mark of each subset's accuracies: validation, test, and extra tests.
MARKS = [(BLUE, "o"), (VERMILLION, "s"), (GREEN, "^"), (PURPLE, "v"), (ORANGE, "P"), (SKY, "X")]
# Height of the part of a row that its subsets share.
ROW = 0.64

ACCURACIES_CAPTION = (
    "Accuracies with their 95\u00a0% intervals; those without an interval are only in the table. Small dots: the "
    "single trainings, if there are several. Hollow diamonds: the study’s accuracies."
)
STUDY_MARK: dict[str, Any] = {"marker": "D", "color": GREY, "markerfacecolor": "none", "markersize": 4}


def draw_accuracies(arms: list[Arm], plan: Plan) -> Figure:
    """The accuracies with their 95 % intervals over sources, a panel for each split: means over the seeds.

    An accuracy without an interval is not drawn. Small dots are the single seeds; hollow diamonds are the study's
    accuracies.
    """
    arms = [arm for arm in arms if not math.isnan(arm.estimate.low)]
    if not arms:
        return draw_notice("No accuracy has an interval; the table says why.")
    names = list(dict.fromkeys((arm.trained_on, arm.tested_on) for arm in arms))
    labels = [wrapped(arm_label(*name), 30) for name in names]
    width = SINGLE_COLUMN if len(plan.splits) == 1 else DOUBLE_COLUMN
    figure = Figure(figsize=(width, 0.75 + 0.18 * len(plan.subsets) * len(names)))
    panels = figure.subplots(1, len(plan.splits), sharex=True, sharey=True, squeeze=False)[0]
    for panel, split in zip(panels, plan.splits, strict=True):
        for arm in (arm for arm in arms if arm.split == split):
            _draw_arm(panel, arm, names.index((arm.trained_on, arm.tested_on)), plan)
        panel.set_yticks(range(len(names)), labels)
        panel.set_ylim(len(names) - 0.5, -0.5)
        panel.tick_params(axis="y", length=0)
        panel.grid(axis="x", linewidth=0.4, color="#DDDDDD")
        panel.set_axisbelow(True)
        panel.set_xlabel("Accuracy")
        panel.xaxis.set_major_locator(MaxNLocator(5))
        if len(plan.splits) > 1:
            panel.set_title(f"split {split}", loc="left")
    low, high = panels[0].get_xlim()
    panels[0].set_xlim(max(low, -0.01), min(high, 1.01))
    keys = [
        Line2D([], [], color=colour, marker=mark, markersize=4, label=subset)
        for subset, (colour, mark) in zip(plan.subsets, cycle(MARKS), strict=False)
        if any(arm.subset == subset for arm in arms)
    ]
    if any(_of_study(arm, plan) is not None for arm in arms):
        keys.append(Line2D([], [], linestyle="", label="study, validation", **STUDY_MARK))
    figure.legend(
        handles=keys, loc="outside upper center", ncols=min(len(keys), 3), columnspacing=1.2, handlelength=1.6
    )
    return figure


def _draw_arm(panel: Axes, arm: Arm, row: int, plan: Plan) -> None:
    place, share = plan.subsets.index(arm.subset), ROW / len(plan.subsets)
    colour, mark = MARKS[place % len(MARKS)]
    height = row + share * (place + 0.5) - ROW / 2
    panel.plot(
        (arm.estimate.low, arm.estimate.high), (height, height), color=colour, linewidth=1.1, solid_capstyle="butt"
    )
    if len(arm.accuracies) > 1:
        seeds = [height + 0.34 * share] * len(arm.accuracies)
        panel.plot(arm.accuracies, seeds, "o", color=colour, markersize=1.8, alpha=0.6, markeredgewidth=0)
    panel.plot(arm.accuracy, height, mark, color=colour, markersize=4)
    published_accuracy = _of_study(arm, plan)
    if published_accuracy is not None:
        panel.plot(published_accuracy, height - share / 2, **STUDY_MARK)


def draw_differences(data: pd.DataFrame) -> Figure:
    """Differences in the metric of verdicts with their 95 % intervals, of `wbcsr.stats.differences.differences`.

    A block for each question; a difference without an interval is not drawn.
    """
    if data.empty:
        return draw_notice(NO_ENHANCED)
    data = data[data["metric_low"].notna()]
    if data.empty:
        return draw_notice("No difference has an interval; the table says why.")
    labels: list[str] = []
    heights: list[float] = []
    titles = []
    height = 0
    for question, rows in data.groupby("question", sort=False):
        titles.append((height, QUESTIONS[question]))
        height += 1
        for _, row in rows.iterrows():
            names = (arm_label(row[f"{of}trained_on"], row[f"{of}tested_on"]) for of in ("", "against_"))
            labels.append(wrapped(" − ".join(names), 24))
            heights.append(height + labels[-1].count("\n") / 2)
            height += labels[-1].count("\n") + 1
    figure = Figure(figsize=(SINGLE_COLUMN, 0.5 + 0.16 * height))
    axis = figure.subplots()
    axis.axvline(0, color=GREY, linewidth=0.8)
    axis.spines["left"].set_visible(False)
    for place, (_, row) in zip(heights, data.iterrows(), strict=True):
        axis.plot((100 * row["metric_low"], 100 * row["metric_high"]), (place, place), color=BLUE, linewidth=1.1)
        axis.plot(100 * row["metric_difference"], place, "o", color=BLUE, markersize=4)
    for place, title in titles:
        # Over the whole width, above the names of its block.
        white = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"}
        note = axis.annotate(title, (0.02, place), xycoords=("figure fraction", "data"), va="center", weight="bold")
        note.set(bbox=white, in_layout=False)
    axis.set_yticks(heights, labels)
    axis.set_ylim(height - 0.5, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", linewidth=0.4, color="#DDDDDD")
    axis.set_axisbelow(True)
    axis.set_xlabel(f"Difference in {METRICS[data['metric'].iloc[0]].lower()}, points")
    return figure


def _of_study(arm: Arm, plan: Plan) -> float | None:
    return published.accuracy(arm.split, arm.trained_on, arm.tested_on, arm.subset, plan.published_classes)
