"""Figures 2 and 3: example images, and one cell as each variant shows it."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.figure import Figure

from wbcsr.present.cells import Cell, field_of_view, field_side, shown_variants
from wbcsr.present.style import (
    DOTS_PER_INCH,
    DOUBLE_COLUMN,
    LINE,
    PAGE_HEIGHT,
    SINGLE_COLUMN,
    draw_notice,
    line_count,
    wrapped,
)
from wbcsr.study.labels import NOT_STORED, class_labels, variant_label
from wbcsr.study.plan import Plan


def draw_examples(cells: dict[str, Cell], plan: Plan) -> Figure:
    """Figure 2: one original image of each class."""
    columns = min(len(cells), 4)
    rows = math.ceil(len(cells) / columns)
    width = SINGLE_COLUMN if columns == 2 else DOUBLE_COLUMN * columns / 4
    labels = [wrapped(label, 26) for label in class_labels(plan.classes)]
    shape = max(cell.pixels.shape[0] / cell.pixels.shape[1] for cell in cells.values())
    panel = width / columns * shape + LINE * line_count(labels)
    figure = Figure(figsize=(width, rows * panel), layout="compressed")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, cell, label in zip(axes, cells.values(), labels, strict=False):
        axis.imshow(cell.pixels, interpolation="nearest")
        axis.set_title(label, pad=3)
    return figure


def draw_enlargements(cells: dict[str, Cell], images: pd.DataFrame, plan: Plan) -> Figure:
    """Figure 3: the same field of view around one cell of each class, as each variant shows it.

    The rows are the variants of `shown_variants`, four classes side by side; without any, a notice. The field is a
    square a fifth wider than the largest of the cells, the same for all classes, and the rows say how many pixels it
    has. Pixels are drawn as the squares they are, unless there are more of them than dots of print.
    """
    variants = shown_variants(images, plan)
    if not variants:
        return draw_notice(NOT_STORED)
    field = field_side(cells)
    columns = min(len(cells), 4)
    blocks = math.ceil(len(cells) / columns)
    labels = [wrapped(label, 20) for label in class_labels(plan.classes)]
    headings = blocks * LINE * line_count(labels)
    # Four classes fill the width of a page; more must not be higher than one, unless they would become too small.
    side = max(1.2, min(1.7, (PAGE_HEIGHT - headings) / (blocks * len(variants))))
    figure = Figure(figsize=(side * columns + 0.4, side * blocks * len(variants) + headings), layout="compressed")
    axes = figure.subplots(blocks * len(variants), columns, squeeze=False)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for number, (cell, label) in enumerate(zip(cells.values(), labels, strict=True)):
        block, column = divmod(number, columns)
        for row, variant in enumerate(variants, start=block * len(variants)):
            crop = field_of_view(cell, field, images, variant)
            fits = crop.shape[1] <= side * DOTS_PER_INCH
            axes[row, column].imshow(crop, interpolation="nearest" if fits else "antialiased")
            if column == 0:
                axes[row, column].set_ylabel(f"{variant_label(variant)}\n{crop.shape[1]} × {crop.shape[0]} px")
        axes[block * len(variants), column].set_title(label, pad=3)
    return figure
