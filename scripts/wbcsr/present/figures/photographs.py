"""Example images: Figures 1 to 3 of the study, and one cell of each class as each variant shows it."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.figure import Figure

from wbcsr.present.cells import Cell, field_of_view, field_side, read_variant, shown_variants
from wbcsr.present.style import (
    CHARACTER,
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

# In inches: the least width of a figure with a title, and the space around the title.
LEAST_WIDTH, MARGIN = 1.6, 0.03


def draw_examples(cells: dict[str, Cell], plan: Plan) -> Figure:
    """Figure 1: one original image of each class."""
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


def draw_image(cell: Cell, name: str, images: pd.DataFrame, plan: Plan, variant: str) -> Figure:
    """Figures 2 and 3: the whole image of one cell of the class `name`, in one variant.

    The original and the enhanced variant are drawn at the same magnification, the largest at which both fit on a page
    and each pixel is a whole number of dots of print. If a pixel would be less than a dot, they fill the page. A
    variant that is not stored gives a notice.
    """
    stored = shown_variants(images, plan) or ["original"]
    if variant not in stored:
        return draw_notice(NOT_STORED)
    shown = {one: read_variant(cell.image, images, one) for one in ("original", plan.enhanced) if one in stored}
    tallest, widest = (max(pixels.shape[side] for pixels in shown.values()) for side in (0, 1))
    heading = 4 * LINE
    fit = DOTS_PER_INCH * min(DOUBLE_COLUMN / widest, (PAGE_HEIGHT - heading) / tallest)
    dots = math.floor(fit) or fit
    pixels = shown[variant]
    height, width = (dots * side / DOTS_PER_INCH for side in pixels.shape[:2])
    full = max(width, LEAST_WIDTH)
    label = dict(zip(plan.classes, class_labels(plan.classes), strict=True))[name]
    lines = [label, variant_label(variant), f"{pixels.shape[1]}\u00a0×\u00a0{pixels.shape[0]}\u00a0pixels"]
    text = wrapped(", ".join(lines), int((full - 2 * MARGIN) / CHARACTER))
    total = height + LINE * line_count([text]) + 2 * MARGIN
    figure = Figure(figsize=(full, total))
    figure.set_layout_engine("none")
    axis = figure.add_axes((0, 0, width / full, height / total))
    axis.set_axis_off()
    axis.imshow(pixels, interpolation="nearest" if dots >= 1 else "antialiased")
    figure.text(MARGIN / full, 1 - MARGIN / total, text, ha="left", va="top")
    return figure


def draw_enlargements(cells: dict[str, Cell], images: pd.DataFrame, plan: Plan) -> Figure:
    """The same field of view around one cell of each class, as each variant shows it.

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
