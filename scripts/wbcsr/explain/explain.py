"""Cells whose predicted class changes between two variants: a list, counts, and figures with Grad-CAM maps."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from wbcsr.classify import classifiers
from wbcsr.classify.pack import select
from wbcsr.dataset.split import source_of
from wbcsr.errors import InputError
from wbcsr.explain import DRAWN, KINDS, LEAST_FIELDS, changes_figure, fields
from wbcsr.explain.changes import choose, compared_images, count_pairs, list_changes, read_predictions
from wbcsr.explain.figures import View, draw_changes
from wbcsr.explain.grad_cam import enlarge, grad_cam
from wbcsr.files import read_csv, write_csv
from wbcsr.present.style import house_style, save_figure
from wbcsr.text import counted

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """A classifier trained on one variant, with the files that explain its predictions.

    `model` is the model of the first seed; `array` and `index` are the packed images of the variant; `predictions` has
    a file for each seed.
    """

    variant: str
    model: Path
    array: Path
    index: Path
    predictions: Mapping[int, Path]


@dataclass(frozen=True)
class ChangesSummary:
    """The number of images compared, changed, of each kind and drawn, and the device that computed the gradients.

    `other_labels_in_fp32` counts the drawn images for which the fp32 network, whose gradients are shown, predicts
    another class than the engine that wrote the predictions.
    """

    images: int
    changed: int
    kinds: dict[str, int]
    drawn: int
    other_labels_in_fp32: int
    device: str = "cpu"
    precision: str = "fp32"


def explain_changes(
    original: Trained,
    enhanced: Trained,
    split: Path,
    images: Path,
    sources: Path,
    classes: Sequence[str],
    number: int,
    changes_csv: Path,
    counts_csv: Path,
    folder: Path,
    threads: int,
) -> ChangesSummary:
    """List the images that two classifiers label differently, and draw up to `number` gained and lost ones.

    `images` is images.csv, whose widths and heights restore the aspect ratio of the classifier's square images, and
    `sources` is sources.csv. `changes_csv` has the columns of `list_changes`, source, and `shown`: the row in its
    figure, from 1, or empty. `counts_csv` is the table of `count_pairs`; its first row belongs to the list. `folder`
    gets a figure for each of `DRAWN`. The networks run in eager mode and fp32, because an engine gives no gradients.
    They run on the CPU, which takes seconds for some dozens of images. Raises InputError if the files do not fit
    together.
    """
    torch.set_num_threads(threads)
    compared = compared_images(split)
    tables = [
        {seed: read_predictions(path, compared, classes) for seed, path in trained.predictions.items()}
        for trained in (original, enhanced)
    ]
    counts = count_pairs(tables[0], tables[1], (original.variant, enhanced.variant))
    first, second = (next(iter(by_seed.values())) for by_seed in tables)
    changes = list_changes(first, second, ("original", "enhanced"))
    described = read_csv(images, ["image", "width", "height"])
    described["source"] = source_of(described, read_csv(sources, ["image", "source"]))
    changes = changes.merge(described[["image", "source"]], on="image")
    chosen = {kind: choose(changes[changes["kind"] == kind], classes, number) for kind in DRAWN}
    shown = pd.concat(chosen.values(), ignore_index=True)
    views = [
        look(trained, shown["image"], shown[f"predicted_{name}"], split, classes)
        for trained, name in ((original, "original"), (enhanced, "enhanced"))
    ]
    sizes = described.set_index("image")[["width", "height"]]
    with house_style():
        for kind, rows in chosen.items():
            figure = draw_changes(rows, kind, views[0], views[1], sizes, enhanced.variant, classes)
            save_figure(figure, folder, changes_figure(kind))
    places = {image: row for rows in chosen.values() for row, image in enumerate(rows["image"], 1)}
    write_csv(changes_csv, changes.assign(shown=[str(places.get(image, "")) for image in changes["image"]]))
    write_csv(counts_csv, counts)
    kinds = {kind: int((changes["kind"] == kind).sum()) for kind in KINDS}
    by_kind = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    log.info("changed labels: %d of %s: %s", len(changes), counted(len(compared), "image"), by_kind)
    others = sum(view.fp32_label != view.label for seen in views for view in seen.values())
    if others:
        log.warning(
            "drawn images whose class in fp32, which the maps explain, differs from the engine's: %d",
            others,
        )
    return ChangesSummary(len(compared), len(changes), kinds, len(shown), others)


def look(
    trained: Trained,
    names: Sequence[str] | pd.Series,
    labels: Sequence[str] | pd.Series,
    split: Path,
    classes: Sequence[str],
) -> dict[str, View]:
    """The classifier's input for each named image, and its Grad-CAM map for the image's class in `labels`.

    The map is that of the last convolutional layer, as Grad-CAM's authors propose. It is None if it has fewer
    than `LEAST_FIELDS` fields in each direction. Raises InputError if the model and the packed images do not fit
    together, or an image is missing.
    """
    if len(names) == 0:
        return {}
    network, description = classifiers.load(trained.model)
    classifiers.check_classes(trained.model, description.classes, classes)
    layers = [network.get_submodule(name) for name in description.network.last]
    # Earlier layers need no gradient, and therefore no memory for their activations.
    network.requires_grad_(False)
    for layer in layers:
        layer.requires_grad_(True)
    packed = select([trained.array], [trained.index], split, classes, {"validation", "test"})
    side = packed.arrays[0].shape[1]
    if side != description.input_size:
        raise InputError(
            f"{trained.array}: holds images of {side} pixels, but {trained.model} takes {description.input_size}; "
            "run the rule train_classifier again"
        )
    position = {name: place for place, name in enumerate(packed.names)}
    pixels, _ = packed.gather(np.array([position[name] for name in names]))
    targets = torch.tensor([list(classes).index(label) for label in labels])
    views: dict[str, View] = {}
    batches = zip(
        *(torch.as_tensor(part).split(classifiers.EVALUATION_BATCH) for part in (pixels, targets)), strict=True
    )
    found: list[np.ndarray | None] = []
    given = []
    for batch, asked in batches:
        if fields(side) >= LEAST_FIELDS:
            found.extend(enlarge(grad_cam(network, layers[-1], batch, asked), side).numpy())
        else:
            found.extend([None] * len(batch))
        with torch.inference_mode():
            given.append(network(batch).argmax(dim=1))
    for name, label, image, seen, own in zip(names, labels, pixels, found, torch.cat(given).tolist(), strict=True):
        views[name] = View(image, seen, label, classes[own])
    return views
