"""The fidelity figure: one cell of each class, its photograph, upscaled versions, and their colour differences."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from skimage.color import deltaE_ciede2000, rgb2lab

from wbcsr.errors import InputError, how_to_regenerate
from wbcsr.fidelity import INTERPOLATIONS, TRUTH, method_heading
from wbcsr.present.style import DOUBLE_COLUMN, LINE, house_style, save_figure
from wbcsr.study.labels import class_labels

# Perceptually uniform, suited to colour-blind readers, and increasing in lightness, so it is readable in grey.
COLOURS = "cividis"


def write_fidelity_figure(crops: Path, folder: Path) -> None:
    """Write fidelity.png and fidelity.svg into `folder` from the crops that `measure_fidelity` wrote."""
    with house_style():
        save_figure(draw_fidelity(read_crops(crops)), folder, "fidelity")


def read_crops(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """Read what `measure.write_crops` wrote: class → view → pixels. Raises InputError if the file is incomplete."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {
                str(name): dict(zip(file["views"].tolist(), file[f"pixels_{number}"], strict=True))
                for number, name in enumerate(file["classes"])
            }
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read ({error}); {how_to_regenerate(path)}") from error


def draw_fidelity(cells: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """For each class: photograph, bicubic, the networks, and the colour differences of these to the photograph.

    `cells` maps class → method → (side, side, 3) uint8. The differences are CIEDE2000 per pixel; all use one scale,
    whose upper end is the 99.8th percentile. They are beside the images, or below them if there are several networks.
    """
    views = next(iter(cells.values()))
    methods = ["bicubic", *(view for view in views if view not in (TRUTH, *INTERPOLATIONS))]
    differences = {
        name: [deltaE_ciede2000(rgb2lab(of[TRUTH]), rgb2lab(of[method])) for method in methods]
        for name, of in cells.items()
    }
    highest = max(1.0, float(np.ceil(max(np.quantile(each, 0.998) for of in differences.values() for each in of))))
    scale = Normalize(0, highest)
    below = len(methods) > 2
    shown = 1 + len(methods)
    columns = shown if below else shown + len(methods)
    lines = len(cells) * (2 if below else 1)
    side = (DOUBLE_COLUMN - 0.75) / columns
    figure = Figure(figsize=(DOUBLE_COLUMN, side * lines + 3 * LINE), layout="compressed")
    axes = figure.subplots(lines, columns, squeeze=False)
    images, maps = (axes[::2], axes[1::2, 1:]) if below else (axes[:, :shown], axes[:, shown:])
    labels = class_labels(list(cells))
    for number, (of, apart, label) in enumerate(zip(cells.values(), differences.values(), labels, strict=True)):
        for axis, view in zip(images[number], [TRUTH, *methods], strict=True):
            axis.imshow(of[view], interpolation="nearest")
        for axis, each in zip(maps[number], apart, strict=True):
            axis.imshow(each, cmap=COLOURS, norm=scale, interpolation="nearest")
        side_px = len(of[TRUTH])
        images[number, 0].set_ylabel(f"{label}\n{side_px} × {side_px} px")
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    names = [method_heading(method).replace(", ", ",\n") for method in methods]
    for axis, heading in zip(images[0], [method_heading(TRUTH), *names], strict=True):
        axis.set_title(heading, pad=3)
    if below:
        for axis, row in zip(axes[1::2, 0], maps, strict=True):
            axis.set_visible(False)
            row[0].set_ylabel("Difference")
    else:
        for axis, name in zip(maps[0], names, strict=True):
            axis.set_title(f"{name.splitlines()[0].rstrip(',')}\ndifference", pad=3)
    bar = figure.colorbar(ScalarMappable(scale, COLOURS), ax=axes, shrink=0.6, aspect=30, pad=0.01, extend="max")
    bar.set_label("Colour difference to the photograph (CIEDE2000)")
    bar.outline.set_visible(False)
    return figure
