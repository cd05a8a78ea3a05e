"""The white cells that figures and report show, and the same field of view around each in every variant."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from wbcsr.cells.finder import find_cell
from wbcsr.config import first_of_each_network, parse_variant
from wbcsr.errors import InputError
from wbcsr.files import read_csv
from wbcsr.imaging import read_image, to_rgb8
from wbcsr.study.plan import Plan

# For the figures, at most this number of images of each class is read, because reading takes time.
CANDIDATES = 50


def read_manifests(manifests: Iterable[str | Path]) -> pd.DataFrame:
    """All images of all variants, sorted by name: the columns variant, partition, class, image and path.

    A manifest and its images are in the folder `…/<variant>/<partition>/<class>/`. The path is None if the image is not
    stored (`store`).
    """
    tables = []
    for manifest in map(Path, manifests):
        table = read_csv(manifest, ["image", "file"])
        variant, partition, name = manifest.parent.parts[-3:]
        paths = [manifest.parent / str(file) if file else None for file in table["file"]]
        tables.append(
            pd.DataFrame(
                {"variant": variant, "partition": partition, "class": name, "image": table["image"], "path": paths}
            )
        )
    return pd.concat(tables).sort_values(["variant", "image"], ignore_index=True)


@dataclass(frozen=True)
class Cell:
    """A white cell: the name of its image, that image's pixels (H, W, 3) uint8, and its box x, y, width, height."""

    image: str
    pixels: np.ndarray
    box: tuple[int, int, int, int]


def choose_cells(images: pd.DataFrame, plan: Plan) -> dict[str, Cell]:
    """One white cell of each class: the first, in order of name, that is complete and isolated in its image.

    The first `CANDIDATES` original images of the training partition are searched. A cell is isolated if a frame around
    it, a quarter of its size wide, lies inside the image and contains no black corner (the data set's augmentation
    leaves black corners). If no cell is isolated, the first image is used, with the box of its stained cell, or the
    whole image if no cell is found.
    """
    originals = images[(images["variant"] == "original") & (images["partition"] == plan.partitions["train"])]
    return {name: _choose_cell(originals[originals["class"] == name], name) for name in plan.classes}


def _choose_cell(originals: pd.DataFrame, name: str) -> Cell:
    if originals.empty:
        raise InputError(f"class {name}: the manifests name no original image of it in the training partition")
    fallback = None
    for image, path in originals[["image", "path"]].head(CANDIDATES).itertuples(index=False):
        pixels = to_rgb8(read_image(path))
        found = find_cell(pixels)
        box = found.box if found else (0, 0, pixels.shape[1], pixels.shape[0])
        if found and _is_free(pixels, box):
            return Cell(image, pixels, box)
        fallback = fallback or Cell(image, pixels, box)
    assert fallback is not None
    return fallback


def _is_free(pixels: np.ndarray, box: tuple[int, int, int, int]) -> bool:
    x, y, width, height = box
    frame = max(width, height) // 4
    left, top, right, bottom = x - frame, y - frame, x + width + frame, y + height + frame
    if left < 0 or top < 0 or right > pixels.shape[1] or bottom > pixels.shape[0]:
        return False
    return bool((pixels[top:bottom, left:right].max(axis=2) >= 20).all())


def shown_variants(images: pd.DataFrame, plan: Plan) -> list[str]:
    """`original`, the first bicubic variant if there is one, the enhanced one, and the first of each other network.

    Empty if no image of one of them is stored, by `images` (of `read_manifests`).
    """
    bicubic = next((variant for variant in plan.variants if parse_variant(variant)[0] == "bicubic"), None)
    shown = ["original", bicubic, plan.enhanced, *first_of_each_network(plan.variants)]
    variants = list(dict.fromkeys(variant for variant in shown if variant))
    stored = images["path"].notna().groupby(images["variant"]).any()
    return variants if stored.reindex(variants, fill_value=True).all() else []


def field_side(cells: dict[str, Cell]) -> int:
    """Side in original pixels of a square a fifth wider than the largest of the cells, no larger than any image."""
    widest = round(1.2 * max(max(cell.box[2:]) for cell in cells.values()))
    return min(widest, *(side for cell in cells.values() for side in cell.pixels.shape[:2]))


def read_variant(image: str, images: pd.DataFrame, variant: str) -> np.ndarray:
    """An image in a variant, (H, W, 3) uint8; raises InputError if no manifest names its file."""
    paths = images.loc[(images["variant"] == variant) & (images["image"] == image), "path"].dropna()
    if paths.empty:
        raise InputError(f"{image}: no manifest of the variant {variant} names its file; run its upscaling again")
    return to_rgb8(read_image(paths.iloc[0]))


def field_of_view(cell: Cell, field: int, images: pd.DataFrame, variant: str) -> np.ndarray:
    """A square around the cell in a variant; its side is `field` pixels of the original image."""
    pixels = read_variant(cell.image, images, variant)
    height, width = cell.pixels.shape[:2]
    x, y, box_width, box_height = cell.box
    left = min(max(x + box_width // 2 - field // 2, 0), width - field)
    top = min(max(y + box_height // 2 - field // 2, 0), height - field)
    scale = pixels.shape[1] / width
    first, last = (round(edge * scale) for edge in (left, left + field))
    upper, lower = (round(edge * scale) for edge in (top, top + field))
    return pixels[upper:lower, first:last]
