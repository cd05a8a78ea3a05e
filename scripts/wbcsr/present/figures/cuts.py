"""The figure of the cells: cuts of each class, and those of which the finder is least sure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from wbcsr.files import read_csv
from wbcsr.imaging import read_image, to_rgb8
from wbcsr.present.cells import read_manifests
from wbcsr.present.style import DOUBLE_COLUMN, LINE, house_style, save_figure, wrapped
from wbcsr.study.labels import class_labels

# Cuts in a row.
COLUMNS = 10
LOWEST = "Lowest score"


def write_cuts_figure(
    cells: Path, sources: Path, manifests: Iterable[str | Path], classes: Sequence[str], folder: Path
) -> None:
    """Write cells.png and cells.svg into `folder`; see `draw_cuts`.

    `cells` and `sources` are the CSV files that `cut_cells` writes, `manifests` are those of the cuts.
    """
    found = read_csv(cells, ["image", "score", "touches_border", "reason"]).query("reason == ''")
    found = found.assign(
        score=found["score"].astype(float), touches_border=found["touches_border"].astype(str) == "True"
    )
    cuts = read_manifests(manifests).merge(found, on="image").merge(read_csv(sources, ["image", "source"]), on="image")
    with house_style():
        save_figure(draw_cuts(cuts, classes), folder, "cells")


def draw_cuts(cuts: pd.DataFrame, classes: Sequence[str]) -> Figure:
    """A row of ten cuts for each class, evenly spaced in the order of their names, and the ten with the lowest score.

    The last row shows at most one cut of a source, since augmented duplicates have nearly the same score. `cuts` has
    the columns image, class, path, score, touches_border and source. Each title is the score, with a star if the cell
    touches the border of its image.
    """
    origin = cuts["source"].where(cuts["source"] != "", cuts["image"])
    by_score = cuts.assign(origin=origin).sort_values(["score", "image"]).drop_duplicates("origin")
    rows = {
        **{
            label: cuts[cuts["class"] == name].sort_values("image").pipe(_spread)
            for name, label in zip(classes, class_labels(list(classes)), strict=True)
        },
        LOWEST: by_score.head(COLUMNS),
    }
    side = DOUBLE_COLUMN / COLUMNS
    figure = Figure(figsize=(DOUBLE_COLUMN, len(rows) * (side + LINE)), layout="compressed")
    axes = figure.subplots(len(rows), COLUMNS, squeeze=False)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for row, (label, chosen) in zip(axes, rows.items(), strict=True):
        row[0].set_ylabel(wrapped(label, 12))
        for axis, cut in zip(row, chosen.itertuples(index=False), strict=False):
            axis.imshow(to_rgb8(read_image(cut.path)), interpolation="antialiased")
            axis.set_title(f"{float(cut.score):.2f}{' *' if cut.touches_border else ''}", pad=2)
    return figure


def _spread(cuts: pd.DataFrame) -> pd.DataFrame:
    return cuts.iloc[np.unique(np.linspace(0, len(cuts) - 1, min(COLUMNS, len(cuts))).round().astype(int))]
