"""Crop a square around the white cell of each image."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from PIL.Image import Resampling

from wbcsr import imaging
from wbcsr.cells.finder import WhiteCell, find_cell
from wbcsr.dataset.ingest import IMAGE_COLUMNS, MANIFEST_COLUMNS, REJECTED_COLUMNS, remove_others
from wbcsr.dataset.sources import SOURCE_COLUMNS
from wbcsr.dataset.split import source_of
from wbcsr.errors import InputError
from wbcsr.files import png_names, read_csv, write_csv, write_if_changed
from wbcsr.progress import side_by_side
from wbcsr.text import counted
from wbcsr.upscale.interpolation import resample

log = logging.getLogger(__name__)

CELL_COLUMNS = ["image", "x", "y", "side", "score", "touches_border", "reason"]
NOT_FOUND = "no white cell was found by its stain"
SEVERAL = "there are several white cells of about the same size"
AT_BORDER = "the white cell touches the border of the image"


@dataclass(frozen=True)
class _Cut:
    """An image's row of `CELL_COLUMNS`, and the SHA-256 of its crop; without a crop, the reason."""

    image: str
    x: int | None = None
    y: int | None = None
    side: int | None = None
    score: float | None = None
    touches_border: bool | None = None
    reason: str = ""
    sha256: str = ""


def cut(pixels: np.ndarray, centre: tuple[int, int], side: int) -> np.ndarray:
    """Return the square of `side` pixels around the pixel `centre` (x, y) of an image (H, W) or (H, W, channels).

    Beyond the border, the image is padded by reflection.
    """
    height, width = pixels.shape[:2]
    left, top = (place - side // 2 for place in centre)
    above, below = max(0, -top), max(0, top + side - height)
    before, behind = max(0, -left), max(0, left + side - width)
    padded = cv2.copyMakeBorder(pixels, above, below, before, behind, cv2.BORDER_REFLECT)
    return padded[top + above : top + above + side, left + before : left + before + side]


def lone_cell(pixels: np.ndarray) -> WhiteCell | str:
    """Return the only white cell of an image (see `imaging`), or the reason why no cell can be chosen."""
    found = find_cell(imaging.to_rgb8(pixels))
    if found is None:
        return NOT_FOUND
    return found if found.is_alone else SEVERAL


def cut_cells(
    images_csv: Path,
    sources_csv: Path,
    rejected_csv: Path,
    whole: Sequence[Path],
    side: int,
    reduce_to: int | None,
    one_cell: bool,
    keep_border_cells: bool,
    folder: Path,
    cuts: Sequence[Path],
    threads: int = 2,
) -> dict[str, int]:
    """Crop a square of `side` pixels around the white cell of each image; all later stages use the crops.

    If `reduce_to` is given, each crop is reduced to this many pixels a side.
    `images_csv`, `sources_csv` and `rejected_csv` describe the ingested images; `whole` are their manifests. `cuts` are
    the manifests of the crops, in the order of `whole`; the crops are PNG files in the folder of their manifest, and
    other images there are removed. Writes to `folder` images.csv, sources.csv and rejected.csv for the crops, and
    cells.csv: for each ingested image the centre x, y of its crop in pixels, `side`, score (see `WhiteCell`),
    touches_border, and the reason if there is no crop.

    An image is rejected if no white cell is found or if there are several of about the same size. `one_cell` says that
    a source is a photograph of one cell, not a patient or slide. If such a source has images of several classes, one of
    the labels belongs to another cell, and all its images are rejected. A cell that touches the border of its image,
    and may therefore be incomplete, is rejected unless `keep_border_cells`.

    Returns the numbers of images, crops, images without a cell, images with several cells, images from a source with
    several classes, and images whose only cell touches the border. Raises InputError if a class is left without an
    image, or a file differs from its manifest.
    """
    size = reduce_to or side
    images = read_csv(images_csv, IMAGE_COLUMNS)
    sources = read_csv(sources_csv, SOURCE_COLUMNS)
    ambiguous = _of_several_classes(images, sources) if one_cell else {}
    tables = [
        read_csv(path, MANIFEST_COLUMNS).assign(
            manifest=path, target=lambda rows, folder=beside.parent: png_names(rows["file"]).map(folder.joinpath)
        )
        for path, beside in zip(whole, cuts, strict=True)
    ]
    rows = list(pd.concat(tables).itertuples(index=False))

    def make(row: Any) -> _Cut:
        if row.image in ambiguous:
            return _Cut(row.image, reason=ambiguous[row.image])
        pixels = imaging.read_listed(row.manifest.parent / row.file, row.sha256, row.manifest)
        cell = lone_cell(pixels)
        if isinstance(cell, str):
            return _Cut(row.image, reason=cell)
        if cell.touches_border and not keep_border_cells:
            return _Cut(row.image, touches_border=True, reason=AT_BORDER)
        square = cut(pixels, cell.centre, side)
        content = imaging.encode_png(square if size == side else resample(square, size, size, Resampling.BICUBIC))
        digest = write_if_changed(row.target, content)
        return _Cut(row.image, *cell.centre, side, round(cell.score, 4), cell.touches_border, sha256=digest)

    made = {each.image: each for each in side_by_side(make, rows, threads, "cut")}
    cells = pd.DataFrame([asdict(made[image]) for image in images["image"]])
    is_cut = cells["reason"] == ""
    _check_classes_left(images, cells)
    kept = images[is_cut.to_numpy()].assign(width=size, height=size, sha256=cells.loc[is_cut, "sha256"].to_numpy())
    remove_others(cuts[0].parents[2], {row.target for row in rows if made[row.image].sha256})
    write_csv(folder / "images.csv", kept)
    write_csv(folder / "sources.csv", sources[sources["image"].isin(kept["image"])])
    rejected = pd.concat([read_csv(rejected_csv, REJECTED_COLUMNS), cells.loc[~is_cut, REJECTED_COLUMNS]])
    write_csv(folder / "rejected.csv", rejected.sort_values("image"))
    numbers = cells.astype({"x": "Int64", "y": "Int64", "side": "Int64", "touches_border": "boolean"})
    write_csv(folder / "cells.csv", numbers[CELL_COLUMNS])
    for manifest, table in zip(cuts, tables, strict=True):
        listed = kept[kept["image"].isin(table["image"])]
        names = {row.image: row.target.name for row in table.itertuples(index=False)}
        listed = listed.assign(file=listed["image"].map(names), input_sha256=listed["sha256"])
        write_csv(manifest, listed[MANIFEST_COLUMNS])
    summary = {
        "images": len(images),
        "cuts": len(kept),
        "without_cell": int((cells["reason"] == NOT_FOUND).sum()),
        "with_several_cells": int((cells["reason"] == SEVERAL).sum()),
        "of_several_classes": len(ambiguous),
        "at_border": int(numbers["touches_border"].sum()),
    }
    _report(summary, len(set(ambiguous.values())))
    return summary


def _of_several_classes(images: pd.DataFrame, sources: pd.DataFrame) -> dict[str, str]:
    """Return the reason to reject each image whose source has images of several classes."""
    known = images.assign(source=source_of(images, sources)).query("source != ''")
    classes = known.groupby("source")["class"].unique()
    several = {source: ", ".join(names) for source, names in classes.items() if len(names) > 1}
    return {
        image: f"its source {source} has images of several classes: {several[source]}"
        for image, source in zip(known["image"], known["source"], strict=True)
        if source in several
    }


def _check_classes_left(images: pd.DataFrame, cells: pd.DataFrame) -> None:
    for name, reasons in cells["reason"].groupby(images["class"]):
        if (reasons != "").all():
            raise InputError(
                f"class {name!r}: none of its {counted(len(reasons), 'image')} can be cut (most often: "
                f"{reasons.mode()[0]}); set view.around to image, or remove the class from dataset.classes"
            )


def _report(summary: dict[str, int], ambiguous_sources: int) -> None:
    log.info(
        "%d of %s cut around the white cell; %d cells touch the border of their image",
        summary["cuts"],
        counted(summary["images"], "image"),
        summary["at_border"],
    )
    if summary["cuts"] < summary["images"]:
        log.warning(
            "%d rejected (see results/dataset/rejected.csv): %d without a white cell, %d with several of about the "
            "same size, %d of %s with images of several classes, the others because their cell touches the border",
            summary["images"] - summary["cuts"],
            summary["without_cell"],
            summary["with_several_cells"],
            summary["of_several_classes"],
            counted(ambiguous_sources, "source"),
        )
