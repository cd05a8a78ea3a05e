"""The report's pictures as data URIs, which make the page independent of other files."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wbcsr.config import Config, partitions_of, training_variants
from wbcsr.errors import InputError
from wbcsr.explain import DRAWN, changes_figure
from wbcsr.imaging import encode_png, read_image, to_rgb8
from wbcsr.present import cells as drawing
from wbcsr.report.numbers import first_fold
from wbcsr.study.labels import class_labels, confusion_name, subsets_of, variant_label
from wbcsr.study.plan import Plan

Picture = dict[str, Any]

# Figures made of photographs: their SVG files are large and have no advantage.
PHOTOGRAPHIC = ("fig2", "fig3", "fidelity", *map(changes_figure, DRAWN))
WIDEST = 1600
JPEG_QUALITY = 88


class Figures:
    """The figures by name. `picture` raises InputError if a figure is not among `paths`."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths = {(path.stem, path.suffix): path for path in paths}

    def picture(self, name: str, caption: str) -> Picture:
        """A figure as `name`, `caption` and `source`: a chart is SVG, photographs are JPEG."""
        suffix = ".png" if name in PHOTOGRAPHIC else ".svg"
        path = self.paths.get((name, suffix))
        if path is None:
            raise InputError(f"report: {name}{suffix} is not among the figures; run the rule make_figures")
        source = data_uri("image/svg+xml", path.read_bytes()) if suffix == ".svg" else _photograph(read_image(path))
        return {"name": name, "caption": caption, "source": source}


def study_figures(figures: Figures, config: Config) -> tuple[list[Picture], list[Picture]]:
    """Figures 2 and 3, of photographs, and Figures 9 to 12, of which 11 and 12 need an upscaled variant."""
    photographs = [
        figures.picture("fig2", "Figure 2. One original image of each class."),
        figures.picture("fig3", "Figure 3. One cell of each class, the same field of view as each variant shows it."),
    ]
    plan = Plan.of(config)
    split = first_fold(plan.splits[0], config)
    charts = []
    for variant, numbers in (("original", (9, 10)), (plan.enhanced, (11, 12))):
        if variant:
            label = variant_label(variant)
            for number, quantity in zip(numbers, ("Accuracy", "Loss"), strict=True):
                caption = f"Figure {number}. {quantity} over the epochs of training, {label} images, split {split}."
                charts.append(figures.picture(f"fig{number}", caption))
    return photographs, charts


def confusion_figures(figures: Figures, config: Config) -> list[dict[str, Any]]:
    """The confusion matrices in groups of one split and subset: `title` and `pictures`."""
    return [
        {
            "title": f"{subset} images, split {split}",
            "pictures": [
                figures.picture(
                    confusion_name(split, trained_on, tested_on, subset),
                    f"Trained on {variant_label(trained_on)}, tested on {variant_label(tested_on)}.",
                )
                for trained_on, tested in training_variants(config).items()
                for tested_on in tested
            ],
        }
        for split in config["splits"]
        for subset in subsets_of(partitions_of(config["dataset"]))
    ]


def examples(manifests: Iterable[Path], plan: Plan) -> list[dict[str, Any]]:
    """The cell of each class that Figure 3 shows, larger: `label` and `views`, one for each variant shown.

    A view has `variant`, `label`, `side` (of the square, in pixels) and `source`. The original's pixels are kept as
    they are, the others are encoded as JPEG. Empty if there is no variant to compare the originals with, or if its
    images are not stored.
    """
    images = drawing.read_manifests(manifests)
    variants = drawing.shown_variants(images, plan)
    if plan.enhanced is None or not variants:
        return []
    cells = drawing.choose_cells(images, plan)
    field = drawing.field_side(cells)
    return [
        {
            "label": label,
            "views": [_view(variant, drawing.field_of_view(cell, field, images, variant)) for variant in variants],
        }
        for label, cell in zip(class_labels(plan.classes), cells.values(), strict=True)
    ]


def _view(variant: str, pixels: np.ndarray) -> Picture:
    source = data_uri("image/png", encode_png(pixels)) if variant == "original" else _photograph(pixels)
    return {"variant": variant, "label": variant_label(variant), "side": pixels.shape[0], "source": source}


def data_uri(kind: str, content: bytes) -> str:
    """The bytes of a file of a MIME type as an address that needs no file."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _photograph(pixels: np.ndarray) -> str:
    """An image of the kinds of `wbcsr.imaging` as a JPEG of at most `WIDEST` pixels in width."""
    image = Image.fromarray(to_rgb8(pixels))
    if image.width > WIDEST:
        image = image.resize((WIDEST, round(image.height * WIDEST / image.width)), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    # Full chroma: the stain's colours are what the reader looks at.
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return data_uri("image/jpeg", buffer.getvalue())
