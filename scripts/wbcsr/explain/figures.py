"""Figures of cells whose predicted class changed: the classifier's input and its Grad-CAM map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from wbcsr.present.style import DOUBLE_COLUMN, GREY, LINE, draw_notice, wrapped
from wbcsr.study.labels import class_labels, variant_label

NOTHING = {
    "gained": "No prediction became correct on {enhanced} images.",
    "lost": "No prediction became incorrect on {enhanced} images.",
}
NO_MAP = "Grad-CAM: too coarse"
# In inches: a picture's box, the width of the text right of two pictures and of the actual class left of them, the gap.
PICTURE_WIDTH, PICTURE_HEIGHT = 1.18, 0.885
WORDS, CLASS, GAP = 0.82, 0.74, 0.04
# Brightness where the map is 0; it increases with the map.
DARKEST = 0.3
HALF = 0.5


@dataclass(frozen=True)
class View:
    """An image as a classifier's input, (side, side, 3) uint8, and its map for `label`, (side, side), 0 to 1, or None.

    `fp32_label` is the class predicted by the network whose gradients made the map.
    """

    pixels: np.ndarray
    map: np.ndarray | None
    label: str
    fp32_label: str


def overlay(pixels: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8, dark where the map (H, W, 0 to 1) is low; brightness can be seen without colour vision."""
    brightness = DARKEST + (1 - DARKEST) * heat[:, :, None]
    return np.round(pixels * brightness).astype(np.uint8)


def draw_changes(
    rows: pd.DataFrame,
    kind: str,
    original: Mapping[str, View],
    enhanced: Mapping[str, View],
    sizes: pd.DataFrame,
    variant: str,
    classes: Sequence[str],
) -> Figure:
    """A row for each image of `rows` (of `choose`): its class, and image, map and prediction for both variants.

    `original` and `enhanced` hold the views of each image. `sizes` (columns width and height, index image) gives the
    shape in which the square images are drawn. `variant` is the enhanced one. If `rows` is empty, the figure says so. A
    view without a map has a blank place instead.
    """
    if rows.empty:
        return draw_notice(NOTHING[kind].format(enhanced=variant_label(variant)))
    labels = dict(zip(classes, class_labels(list(classes)), strict=True))
    has_maps = any(view.map is not None for view in (*original.values(), *enhanced.values()))
    heading = 2.4 * LINE
    step = PICTURE_HEIGHT + GAP
    height = heading + step * len(rows)
    figure = Figure(figsize=(DOUBLE_COLUMN, height))
    figure.set_layout_engine("none")  # all positions are in inches
    pair = 2 * PICTURE_WIDTH + GAP + WORDS
    for start, name in ((CLASS, "original"), (CLASS + pair, variant)):
        title, places = variant_label(name), (start, start + PICTURE_WIDTH + GAP)
        _write(figure, start, height - 0.75 * LINE, f"Trained and tested on {title} images", weight="bold")
        for left, text in zip(places, ("input of the network", "Grad-CAM map" if has_maps else NO_MAP), strict=True):
            _write(figure, left, height - 1.85 * LINE, text, color=GREY)
        _write(figure, start + 2 * (PICTURE_WIDTH + GAP), height - 1.85 * LINE, "prediction", color=GREY)
    _write(figure, 0, height - 1.85 * LINE, "class", color=GREY)
    for number, row in enumerate(rows.to_dict("records")):
        bottom = height - heading - step * (number + 1) + GAP
        middle = bottom + PICTURE_HEIGHT / 2
        _write(figure, 0, middle, f"{number + 1}\n{wrapped(labels[row['class']], 10)}", weight="bold")
        width, image_height = (int(sizes.loc[row["image"], side]) for side in ("width", "height"))
        for start, name, views in ((CLASS, "original", original), (CLASS + pair, "enhanced", enhanced)):
            view = views[row["image"]]
            drawn = [view.pixels] if view.map is None else [view.pixels, overlay(view.pixels, view.map)]
            for left, pixels in zip((start, start + PICTURE_WIDTH + GAP), drawn, strict=False):
                box = (left / DOUBLE_COLUMN, bottom / height, PICTURE_WIDTH / DOUBLE_COLUMN, PICTURE_HEIGHT / height)
                axis = figure.add_axes(box)
                axis.set_axis_off()
                axis.imshow(pixels, interpolation="nearest", extent=(0, width, image_height, 0))
            if view.map is not None:
                _outline(axis, view.map, width, image_height)
            _write(figure, start + 2 * (PICTURE_WIDTH + GAP), middle, _prediction(row, name, labels))
    return figure


def _outline(axis: Axes, heat: np.ndarray, width: int, height: int) -> None:
    """A line around the places where the map is above half of its largest value."""
    if heat.min() < HALF < heat.max():
        across, down = (
            (np.arange(number) + 0.5) * size / number
            for number, size in zip(heat.shape[::-1], (width, height), strict=True)
        )
        lines = axis.contour(across, down, heat, levels=[HALF], colors="white", linewidths=0.8)
        lines.set_path_effects([withStroke(linewidth=1.8, foreground="black")])


def _prediction(row: Mapping[str, Any], name: str, labels: Mapping[str, str]) -> str:
    """The predicted class, whether it is right, and its probability; if it is wrong, also the actual class."""
    predicted = row[f"predicted_{name}"]
    right = predicted == row["class"]
    lines = [wrapped(labels[predicted], 13), f"{_percent(row[f'confidence_{name}'])}, {'right' if right else 'wrong'}"]
    if not right:
        lines.append(f"(actual: {_percent(row[f'probability_{name}'])})")
    return "\n".join(lines)


def _percent(share: Any) -> str:
    return f"{100 * share:.0f}\u00a0%"


def _write(figure: Figure, left: float, bottom: float, text: str, **style: Any) -> None:
    width, height = figure.get_size_inches()
    figure.text(left / width, bottom / height, text, ha="left", va="center", fontsize=7, **style)
