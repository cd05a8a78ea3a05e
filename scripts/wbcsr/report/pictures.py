"""The report's pictures as data URIs, which make the page independent of other files."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from wbcsr.config import Config, partitions_of, training_variants
from wbcsr.errors import InputError
from wbcsr.explain import DRAWN, changes_figure
from wbcsr.imaging import encode_png, read_image, to_rgb8
from wbcsr.present import cells as drawing
from wbcsr.present.figures.classes import FIGURES as MEASURED
from wbcsr.report.numbers import counted, first_fold
from wbcsr.study import published
from wbcsr.study.labels import class_labels, confusion_name, subsets_of, variant_label
from wbcsr.study.plan import Plan

Picture = dict[str, Any]

# Figures made of photographs: their SVG files are large and have no advantage.
PHOTOGRAPHIC = ("fig1", "fig2", "fig3", "enlargements", "fidelity", *map(changes_figure, DRAWN))
WIDEST = 1600
# Pictures of sources that every classifier misclassifies: at most so many, each at most so wide.
MOST_MISCLASSIFIED, MISCLASSIFIED_WIDTH = 12, 480
JPEG_QUALITY = 88


class Figures:
    """The figures by name. `picture` raises InputError if a figure is not among `paths`."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths = {(path.stem, path.suffix): path for path in paths}

    def picture(self, name: str, caption: str) -> Picture:
        """A figure as `name`, `caption` and `source`: a chart is SVG, photographs are JPEG.

        Photographs also have their `width` in print, in dots.
        """
        suffix = ".png" if name in PHOTOGRAPHIC else ".svg"
        path = self.paths.get((name, suffix))
        if path is None:
            raise InputError(f"report: {name}{suffix} is not among the figures; run the rule make_figures")
        found = {"name": name, "caption": caption}
        if suffix == ".svg":
            return found | {"source": data_uri("image/svg+xml", path.read_bytes())}
        pixels = read_image(path)
        return found | {"source": _photograph(pixels), "width": pixels.shape[1]}


def study_figures(figures: Figures, config: Config) -> tuple[list[Picture], list[Picture]]:
    """Figures 1 to 3, of photographs, and Figures 9 to 12; Figure 3 needs an upscaled variant."""
    plan = Plan.of(config)
    shown, split = plan.labels[published.shown(plan.classes)], plan.splits[0]
    captions = {"fig1": "One original image of each class.", "fig2": f"One original image ({shown})."}
    if plan.enhanced:
        captions["fig3"] = f"The same image, {variant_label(plan.enhanced)}, at the same magnification."
    photographs = [figures.picture(name, f"Figure {name[3:]}. {text}") for name, text in captions.items()]
    for picture in photographs[1:]:
        # As wide on the page in relation to each other as in print.
        picture["share"] = 100 * picture["width"] / max(one["width"] for one in photographs[1:])
    history = (
        f"Accuracy and loss over the epochs of training, split {first_fold(split, config)}. Thin lines: the seeds, if "
        "there are several; bold: their mean."
    )
    measures = {
        "accuracy": "Accuracy of each class: the share of all images that were assigned correctly to this class or "
        "to the others",
        "recall": "Recall of each class",
        "f1": "F1 score of each class",
    }
    note = f"Validation images, split {split}; mean over the seeds; 95\u00a0% intervals if there are enough sources."
    if plan.published_classes and published.accuracy(split, "original", "original", "validation", plan.classes):
        note += " Diamonds: the study’s values, from its confusion matrices."
    charts = {"fig9": history} | {name: f"{measures[measure]}. {note}" for name, measure in MEASURED.items()}
    return photographs, [figures.picture(name, f"Figure {name[3:]}. {text}") for name, text in charts.items()]


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


def misclassified(data: pd.DataFrame, images: pd.DataFrame, plan: Plan) -> list[Picture]:
    """The first original image of at most `MOST_MISCLASSIFIED` rows of misclassified.csv, in their order.

    The first row of every class is taken before any second one. `images` is that of `wbcsr.present.cells`.
    """
    turns = data.groupby("class", sort=False).cumcount().sort_values(kind="stable")
    return [
        {
            "caption": f"{plan.labels[row['class']]}, predicted most often: {plan.labels[row['predicted']]} "
            f"({counted(int(row['images']), 'image')}). {row['image']}",
            "source": _photograph(drawing.read_variant(row["image"], images, "original"), MISCLASSIFIED_WIDTH),
        }
        for _, row in data.loc[sorted(turns.index[:MOST_MISCLASSIFIED])].iterrows()
    ]


def examples(images: pd.DataFrame, plan: Plan) -> list[dict[str, Any]]:
    """The cells of the figure `enlargements`, larger: `label` and `views`, one for each variant shown.

    A view has `variant`, `label`, `side` (of the square, in pixels) and `source`. The original's pixels are kept as
    they are, the others are encoded as JPEG. Empty if there is no variant to compare the originals with, or if its
    images are not stored.
    """
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


def _photograph(pixels: np.ndarray, widest: int = WIDEST) -> str:
    """An image of the kinds of `wbcsr.imaging` as a JPEG of at most `widest` pixels in width."""
    image = Image.fromarray(to_rgb8(pixels))
    if image.width > widest:
        image = image.resize((widest, round(image.height * widest / image.width)), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    # Full chroma: the stain's colours are what the reader looks at.
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return data_uri("image/jpeg", buffer.getvalue())
