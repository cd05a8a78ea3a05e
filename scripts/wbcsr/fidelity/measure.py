"""Halve photographs, upscale them by every method, and compare the results with the photographs."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from wbcsr.cells.cut import cut, lone_cell
from wbcsr.dataset.archive import open_archive
from wbcsr.errors import InputError
from wbcsr.fidelity import INTERPOLATIONS, METRICS, TRUTH
from wbcsr.fidelity.metrics import halve, lpips, measure, niqe, resize
from wbcsr.fidelity.photographs import Photograph, choose, read
from wbcsr.fidelity.regions import box_of, find_regions
from wbcsr.files import write_bytes, write_csv
from wbcsr.progress import image_progress
from wbcsr.text import counted
from wbcsr.upscale.interpolation import Interpolation
from wbcsr.weights.lpips import Lpips

log = logging.getLogger(__name__)

COLUMNS = ["image", "class", "method", "region", "pixels", *METRICS]
# Side of the square around a cell in the figure, as a fraction of the photograph's height.
FIELD = 5 / 12

# A function from images (h, w, 3) uint8 of one size to the images enlarged by an integer factor.
Enlarge = Callable[[list[np.ndarray]], list[np.ndarray]]


def measure_fidelity(
    archive: Path, dataset: Mapping[str, Any], per_class: int, networks: Mapping[str, Enlarge], table: Path,
    crops: Path, side: int | None = None, perceptual: Lpips | None = None,
    finetuned: Mapping[str, Sequence[tuple[Enlarge, Collection[str]]]] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Compare every method on the photographs of `archive`; returns the facts for the provenance.

    `dataset` is that section of the configuration, which names the folder of photographs, and `networks` are the
    super-resolution networks, by the name of a variant of their scale. Those in `finetuned` have another network for
    each split, each with the names of the photographs that it has not seen: a photograph is enlarged by the first one
    that has not seen it, and not measured if there is none. `table` gets a row for each photograph, method and region
    (`COLUMNS`; `pixels` is the size of the region), and one for each photograph itself, which has only the metric that
    needs no reference. `crops` gets one cell of each class; see `write_crops`. If `side` is given (view.around is
    cell), squares of twice this side around the white cell replace the photographs, because photographs have twice the
    size of images; photographs in which no cell can be chosen (see `lone_cell`) are left out. If `perceptual` is given,
    LPIPS is measured: for the region `whole` in the whole image, for `cell` in the square around the cell that the
    figure shows. Raises InputError if the archive has no usable photograph.
    """
    classes = dataset["classes"]
    if not (dataset["photographs"] and per_class):
        raise InputError(
            "configuration: no photographs to measure fidelity; set dataset.photographs and fidelity.per_class"
        )
    methods: dict[str, Enlarge] = {name: Interpolation(name, 2) for name in INTERPOLATIONS}
    methods |= networks
    tuned = finetuned or {}
    unseen = [set().union(*(names for _, names in each)) for each in tuned.values()]
    rows: list[dict[str, Any]] = []
    shown: dict[str, tuple[bool, Photograph, np.ndarray]] = {}
    with open_archive(archive, dataset["limits"], dataset["links"]) as opened:
        chosen = choose(opened, dataset, per_class, set.intersection(*unseen) if unseen else None)
        for name in classes:
            if all(name != of for _, of in chosen):
                log.warning("no photograph shows only the class %s, so its fidelity is not measured", name)
        with image_progress(len(chosen), "photographs", 0) as progress:
            for photograph in read(opened, chosen, dataset):
                truth, regions = photograph.pixels, find_regions(photograph.pixels)
                if side:
                    white = lone_cell(truth)
                    if isinstance(white, str):
                        log.warning("%s is left out: %s", photograph.name, white)
                        continue
                    truth = cut(truth, white.centre, 2 * side)
                    regions = {
                        name: cut(mask.astype(np.uint8), white.centre, 2 * side) > 0 for name, mask in regions.items()
                    }
                small = halve(truth)
                field = _field(truth, regions["cell"])
                views = [truth[field]]
                rows.append(_row(photograph, TRUTH, "whole", regions, {"niqe": niqe(truth)}))
                name = PurePosixPath(photograph.name).name
                of_split = {method: next(each for each, names in of if name in names) for method, of in tuned.items()}
                for method, enlarge in (methods | of_split).items():
                    enlarged = enlarge_twice(small, enlarge)
                    views.append(enlarged[field])
                    measured = measure(enlarged, truth, small, regions)
                    if perceptual:
                        measured["whole"]["lpips"] = lpips(perceptual, enlarged, truth)
                        if regions["cell"].any():
                            measured["cell"]["lpips"] = lpips(perceptual, enlarged[field], truth[field])
                    rows += [_row(photograph, method, region, regions, metrics) for region, metrics in measured.items()]
                free = _is_free(regions["cell"])
                # The first photograph whose cell does not touch the edge; if there is none, the first.
                if photograph.class_name not in shown or (free and not shown[photograph.class_name][0]):
                    shown[photograph.class_name] = (free, photograph, np.stack(views))
                progress.update()
    if not rows:
        raise InputError(
            f"{archive}: no photograph in {dataset['photographs']} has one white cell; set fidelity.per_class to 0"
        )
    data = pd.DataFrame(rows, columns=COLUMNS)
    lost = data[(data["region"] == "cell") & (data["pixels"] == 0)]["image"].nunique()
    if lost:
        log.warning("no white cell was found in %d of %s", lost, counted(data["image"].nunique(), "photograph"))
    names = [*methods, *tuned]
    write_crops(crops, [(photograph, views) for _, photograph, views in shown.values()], names)
    write_csv(table, data)
    return {"photographs": data["image"].nunique(), "photographs_without_cell": lost, "methods": names}


def enlarge_twice(small: np.ndarray, enlarge: Enlarge) -> np.ndarray:
    """`small` upscaled; a result of more than twice its size is shrunk to that (see `metrics.resize`)."""
    (enlarged,) = enlarge([small])
    width, height = 2 * small.shape[1], 2 * small.shape[0]
    return enlarged if enlarged.shape[:2] == (height, width) else resize(enlarged, width, height)


def write_crops(path: Path, cells: Sequence[tuple[Photograph, np.ndarray]], methods: Sequence[str]) -> None:
    """Write one cell of each class as an .npz file: `classes`, `images`, `views` and for each class `pixels_<n>`.

    `views` are the photograph and then the methods, `pixels_<n>` (views, side, side, 3) uint8.
    """
    arrays: dict[str, Any] = {
        "classes": np.array([photograph.class_name for photograph, _ in cells]),
        "images": np.array([photograph.name for photograph, _ in cells]),
        "views": np.array([TRUTH, *methods]),
        **{f"pixels_{number}": views for number, (_, views) in enumerate(cells)},
    }
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    write_bytes(path, content.getvalue())


def _row(
    photograph: Photograph, method: str, region: str, regions: Mapping[str, np.ndarray], metrics: dict[str, float]
) -> dict[str, Any]:
    place = {"image": photograph.name, "class": photograph.class_name, "method": method, "region": region}
    return {**place, "pixels": int(regions[region].sum()), **metrics}


def _field(truth: np.ndarray, cell: np.ndarray) -> tuple[slice, slice]:
    """The square around the cell that the figure shows, shifted so that it lies in the image."""
    x, y, width, height = box_of(cell)
    side = min(max(round(FIELD * truth.shape[0]), width, height), *truth.shape[:2])
    top = min(max(y + height // 2 - side // 2, 0), truth.shape[0] - side)
    left = min(max(x + width // 2 - side // 2, 0), truth.shape[1] - side)
    return slice(top, top + side), slice(left, left + side)


def _is_free(cell: np.ndarray) -> bool:
    """Whether a cell was found that does not touch the edge of its image."""
    edges = (cell[0], cell[-1], cell[:, 0], cell[:, -1])
    return bool(cell.any() and not any(edge.any() for edge in edges))
