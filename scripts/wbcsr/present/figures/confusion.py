"""Confusion matrices."""

from __future__ import annotations

import re

import numpy as np
from matplotlib.figure import Figure

from wbcsr.present.style import (
    CHARACTER,
    DOUBLE_COLUMN,
    LINE,
    SINGLE_COLUMN,
    STYLE,
    line_count,
    wrapped,
)
from wbcsr.stats.predictions import Arm
from wbcsr.study.labels import class_labels, variant_label
from wbcsr.study.plan import Plan


def draw_confusion(arm: Arm, plan: Plan) -> Figure:
    """The confusion matrix of an arm's first run: in each cell the count and its share of the row, which shades it."""
    run, matrix = arm.first
    counts = matrix.to_numpy()
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    labels = class_labels(plan.classes)
    size = len(labels)
    width = SINGLE_COLUMN if size <= 4 else max(DOUBLE_COLUMN, 0.5 * size + 1.2)
    actual = [wrapped(label, 16) for label in labels]
    side = (width - 0.3 - CHARACTER * max(len(line) for label in actual for line in label.split("\n"))) / size
    # The names below the cells are horizontal if their longest word fits into a cell, otherwise rotated.
    fitting = int(side / CHARACTER)
    upright = all(len(word) <= fitting for label in labels for word in re.split(r"(?<=[\s_-])", label))
    predicted = [wrapped(label, fitting) for label in labels] if upright else actual
    below = LINE * line_count(predicted) if upright else 0.7 * (width - 0.3 - side * size)
    figure = Figure(figsize=(width, size * side + below + 0.6))
    axis = figure.subplots()
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(counts.shape):
        share = f"\n{100 * shares[row, column]:.1f} %" if totals[row] else ""
        colour = "white" if shares[row, column] > 0.5 else "black"
        axis.text(column, row, f"{counts[row, column]:,}{share}", ha="center", va="center", color=colour, fontsize=7)
    if upright:
        axis.set_xticks(range(size), predicted)
    else:
        axis.set_xticks(range(size), predicted, rotation=45, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(size), actual)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    axis.set(xlabel="Predicted class", ylabel="Actual class")
    # Over the whole figure, which is wider than the cells.
    figure.suptitle(
        f"Trained on {variant_label(arm.trained_on)}, tested on {variant_label(arm.tested_on)}\n"
        f"{arm.subset} images, split {arm.split}, {run}",
        fontsize=STYLE["axes.titlesize"],
    )
    return figure
