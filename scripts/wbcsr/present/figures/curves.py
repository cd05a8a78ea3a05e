"""Figures of calibration: reliability diagrams, ROC and precision–recall curves."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from wbcsr.present.style import (
    BLUE,
    CHARACTER,
    DOUBLE_COLUMN,
    GREEN,
    LINE,
    ORANGE,
    PURPLE,
    SINGLE_COLUMN,
    SKY,
    VERMILLION,
    line_count,
    wrapped,
)
from wbcsr.present.tables.calibration import LEAST_IMAGES, calibration_error_text
from wbcsr.stats.calibration import GRID, Probabilities, mean_precision, mean_roc
from wbcsr.study.labels import arm_label, class_labels

# Colour, dashes and mark of each arm in turn; they can be distinguished without colour, too. The colours are Okabe and
# Ito's. Six dashes and seven colours give 42 different lines.
ARM_COLOURS = [BLUE, VERMILLION, GREEN, "black", PURPLE, SKY, ORANGE]
ARM_DASHES: list[Any] = ["-", (0, (4, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)), (0, (2, 1)), (0, (6, 1, 1, 1, 1, 1))]
ARM_MARKS = ["o", "s", "^", "D", "v", "P", "X"]
CHANCE: dict[str, Any] = {"color": "#999999", "linewidth": 0.6, "zorder": 0}

# With more classes, only their mean is drawn.
MOST_PANELS = 8

# The accuracy of a bin with fewer predictions is very uncertain.
FEW_PREDICTIONS = 10

RELIABILITY_CAPTION = (
    "Accuracy (above) and share of all predictions (below) in 15 bins of the classifier's confidence, the predictions "
    "of all seeds together. On the diagonal, accuracy equals confidence. A hollow point has fewer than "
    f"{FEW_PREDICTIONS} predictions; a bin without any has "
    "no point. ECE: expected calibration error, the mean distance of the bins from the diagonal, weighted by their "
    f"predictions; mean over the seeds; not shown for fewer than {LEAST_IMAGES} images."
)
CURVES_CAPTION = (
    "Each class against the rest: ROC curves with the area under them (AUC), and precision–recall "
    "curves with the average precision (AP). Curves and numbers are means over the seeds. Grey: chance."
)


def draw_reliability(groups: Sequence[Probabilities]) -> Figure:
    """The reliability diagram of arms of one split and subset, and the histogram of their confidence below it.

    Accuracy in each bin of confidence, at the bin's mean confidence (Niculescu-Mizil and Caruana, ICML 2005; Guo et
    al., ICML 2017). `RELIABILITY_CAPTION` says the rest.
    """
    figure = Figure(figsize=(SINGLE_COLUMN, 3.9 + LINE * len(groups)))
    above, below = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    above.plot((0, 1), (0, 1), **CHANCE)
    keys = []
    for group, (line, mark) in _arm_lines(groups):
        bins = group.pooled.table
        many = bins[bins["images"] >= FEW_PREDICTIONS]
        few = bins[bins["images"].between(1, FEW_PREDICTIONS, inclusive="left")]
        points: dict[str, Any] = {"marker": mark, "markersize": 3.5}
        above.plot(many["confidence"], many["accuracy"], **line, **points)
        hollow = line | {"linestyle": "", "markerfacecolor": "white", "markeredgewidth": 0.7}
        above.plot(few["confidence"], few["accuracy"], **hollow, **points)
        below.stairs(bins["images"] / bins["images"].sum(), [*bins["low"], bins["high"].iloc[-1]], **line)
        label = arm_label(group.trained_on, group.tested_on)
        if error := calibration_error_text(group.calibration_error, len(group.actual)):
            label += f", ECE {error}"
        keys.append(Line2D([], [], **line, **points, label=label))
    above.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel="Accuracy")
    below.set(xlabel="Confidence", ylabel="Share")
    _add_arm_legend(figure, groups, keys, 1)
    return figure


def draw_curves(groups: Sequence[Probabilities]) -> Figure:
    """ROC and precision–recall curves of arms of one split and subset, a panel of each for every class.

    Of more than `MOST_PANELS` classes, the mean over those that have a curve. `CURVES_CAPTION` says the rest.
    """
    classes = groups[0].classes
    panels = {label: [name] for label, name in zip(class_labels(classes), classes, strict=True)}
    if len(classes) > MOST_PANELS:
        panels = {f"mean of {len(groups[0].curves)} classes": classes}
    columns = min(len(panels), 4)
    blocks = math.ceil(len(panels) / columns)
    # The two panels of a class are one above the other, or side by side if there are no others.
    rows, across = (2 * blocks, columns) if len(panels) > 1 else (1, 2)
    width = SINGLE_COLUMN if across == 2 else DOUBLE_COLUMN * across / 4
    side = width / across
    labels = [wrapped(label, 24) for label in panels]
    keys = [
        Line2D([], [], **line, label=arm_label(group.trained_on, group.tested_on))
        for group, (line, _) in _arm_lines(groups)
    ]
    legend_columns = _legend_columns(keys, width)
    legend = LINE * (1.5 + math.ceil(len(keys) / legend_columns))
    height = rows * (side + 0.1) + blocks * LINE * line_count(labels) + legend
    figure = Figure(figsize=(width, height))
    axes = figure.subplots(rows, across, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    pairs = axes.reshape(blocks, 2, columns).swapaxes(1, 2).reshape(-1, 2)
    for number, ((roc, precision), label, names) in enumerate(zip(pairs, labels, panels.values(), strict=False)):
        roc.set_title(label)
        _draw_class(roc, precision, groups, [name for name in names if name in groups[0].curves])
        if number % columns == 0:
            roc.set_ylabel("True positive rate")
            precision.set_ylabel("Precision")
    _add_arm_legend(figure, groups, keys, legend_columns)
    return figure


def _draw_class(roc: Axes, precision: Axes, groups: Sequence[Probabilities], names: list[str]) -> None:
    """Draw the curves of a class, or the mean of several classes; a class without curves gets a note."""
    for axis, quantity in ((roc, "False positive rate"), (precision, "Recall")):
        axis.set_axis_on()
        axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1), xlabel=quantity)
        axis.set_aspect("equal")
        if not names:
            axis.text(0.5, 0.5, "no curve", ha="center", va="center")
    if not names:
        return
    share = np.isin(groups[0].actual, names).mean() / len(names)
    roc.plot((0, 1), (0, 1), **CHANCE)
    precision.plot((0, 1), (share, share), **CHANCE)
    for group, (line, _) in _arm_lines(groups):
        curves = [curve for name in names for curve in group.curves[name]]
        auc, average_precision = group.areas.loc[names].mean()
        roc.plot([0, *GRID], [0, *mean_roc(curves)], **line, label=f"{auc:.3f}")
        precision.plot(GRID[1:], mean_precision(curves), **line, label=f"{average_precision:.3f}")
    box: dict[str, Any] = {"frameon": True, "framealpha": 1, "edgecolor": "none", "labelspacing": 0.2, "borderpad": 0.2}
    roc.legend(loc="lower right", title="AUC", **box)
    precision.legend(loc="lower left", title="AP", **box)


def _arm_lines(groups: Sequence[Probabilities]) -> Iterator[tuple[Probabilities, tuple[dict[str, Any], str]]]:
    """Each arm with the style of its line, and its mark."""
    styles = zip(*map(itertools.cycle, (ARM_COLOURS, ARM_DASHES, ARM_MARKS)), strict=False)
    for group, (colour, dashes, mark) in zip(groups, styles, strict=False):
        yield group, ({"color": colour, "linestyle": dashes, "linewidth": 1.1}, mark)


def _legend_columns(keys: list[Line2D], width: float) -> int:
    """The number of legend columns that fit into this width in inches."""
    longest = max(len(str(key.get_label())) for key in keys)
    return max(1, int(width / (CHARACTER * longest + 0.5)))


def _add_arm_legend(figure: Figure, groups: Sequence[Probabilities], keys: list[Line2D], columns: int) -> None:
    """What the lines are, above all panels."""
    title = f"{groups[0].subset} images, split {groups[0].split}"
    figure.legend(handles=keys, title=title, loc="outside upper center", ncols=columns, handlelength=3)
