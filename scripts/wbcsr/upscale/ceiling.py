"""The variant `ceiling`: for each image the photograph that it was made from, in the image's frame at twice its size.

It is what an ideal super-resolution by 2 would return. If it does not help a classifier, no super-resolution can.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from wbcsr import imaging
from wbcsr.cells.cut import cut
from wbcsr.dataset.archive import open_archive
from wbcsr.dataset.sources import FRAME_COLUMNS, photograph_entries
from wbcsr.errors import InputError
from wbcsr.files import read_csv
from wbcsr.progress import side_by_side
from wbcsr.text import counted
from wbcsr.upscale.shard import shard_rows
from wbcsr.upscale.store import ALL, MANIFEST_COLUMNS, Entry, Store, Storing

SCALE = 2
# Limits of the photograph's height divided by the image's. Below, it has no finer detail; above, the warp would alias.
USABLE = (1.5, 3.0)
# Brighter values of an image may be clipped.
SATURATED = 250


def ceiling(photograph: np.ndarray, image: np.ndarray, frame: npt.NDArray[np.float64]) -> np.ndarray:
    """The photograph in the frame of its image at twice the size, (2 H, 2 W, 3) uint8.

    `photograph` and `image` (H, W, …) are as in `imaging`; `frame` (2, 3) takes the image's pixels to the photograph's,
    where the centre of the first pixel is (0, 0). One bicubic interpolation; black beyond the photograph, as in the
    study's images. Their augmentation also multiplied the values of each image by one factor, so that the largest
    became 255: the factor is found by least squares and applied to the result.
    """
    image = imaging.to_rgb8(image)
    half = np.array([[1 / SCALE, 0, (1 / SCALE - 1) / 2], [0, 1 / SCALE, (1 / SCALE - 1) / 2], [0, 0, 1]])
    size = (SCALE * image.shape[1], SCALE * image.shape[0])
    warped = cv2.warpAffine(
        imaging.to_rgb8(photograph).astype(np.float32), frame @ half, size, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    )
    shown = cv2.resize(warped, image.shape[1::-1], interpolation=cv2.INTER_AREA).astype(float)
    known = (image < SATURATED) & (shown > 0)
    factor = (shown[known] @ image[known]) / (shown[known] @ shown[known])
    return np.rint(factor * warped).clip(0, 255).astype(np.uint8)


def read_frames(sources_csv: Path) -> pd.DataFrame:
    """Photograph and frame of each image (the index): `FRAME_COLUMNS`, numbers as float64.

    Raises InputError if the photograph of an image is unknown, because all variants need the same images.
    """
    table = read_csv(sources_csv, ["image", *FRAME_COLUMNS]).set_index("image")[FRAME_COLUMNS]
    lost = table.index[table["photograph"] == ""]
    if len(lost):
        raise InputError(
            f"{sources_csv}: the variant ceiling needs the photograph of every image, but it is unknown for "
            f"{len(lost)} of {counted(len(table), 'image')} (first: {lost[0]}); leave these images out "
            "(dataset.images), or take ceiling out of variants"
        )
    return table.astype(dict.fromkeys(FRAME_COLUMNS[1:], float))


def make_ceiling(
    originals: Path,
    whole: Path,
    sources_csv: Path,
    cells_csv: Path | None,
    archive: Path,
    dataset: Mapping[str, Any],
    manifest: Path,
    shard: int,
    shards: int,
    threads: int,
    storing: Storing = ALL,
) -> dict[str, Any]:
    """Make the ceiling of each image of a shard of the manifest `originals`, and store `storing` beside `manifest`.

    `whole` is the manifest of the whole images. If the originals are crops of these, `cells_csv` has their centres
    and sides, and the same square is cut at twice the side. `sources_csv` has the frames (`read_frames`), `dataset` is
    that section of the configuration, whose photographs are in `archive`.

    Returns what the provenance needs, as `upscale_shard` does. Raises InputError if a photograph is unknown, missing or
    not about twice as large as its image, or if an image is not the one that its manifest lists.
    """
    rows = shard_rows(read_csv(originals, MANIFEST_COLUMNS), shard, shards)
    frames = read_frames(sources_csv)
    listed = read_csv(whole, MANIFEST_COLUMNS).set_index("image")
    cells = read_csv(cells_csv, ["image", "x", "y", "side"]).set_index("image") if cells_csv else None
    with (
        open_archive(archive, dict(dataset["limits"]), dataset["links"]) as contents,
        Store(manifest, rows, storing) as store,
    ):
        entries = photograph_entries(contents, str(dataset["photographs"]))

        @lru_cache(maxsize=2 * threads)
        def photograph(name: str) -> np.ndarray:
            if name not in entries:
                raise InputError(
                    f"{archive}: has no photograph {name}, which {sources_csv} names; run `snakemake --forcerun "
                    "find_sources`"
                )
            return imaging.decode_as_configured(contents.read(entries[name]), name, dataset)

        def make(row: Any) -> Entry:
            file, digest = listed.loc[row.image, ["file", "sha256"]]
            image = imaging.read_listed(whole.parent / file, digest, whole)
            name, *numbers = frames.loc[row.image]
            source = photograph(name)
            _check_size(name, source, row.image, image)
            pixels = ceiling(source, image, np.reshape(numbers, (2, 3)))
            if cells is not None:
                x, y, side = (int(cells.loc[row.image, key]) for key in ("x", "y", "side"))
                # `cut` goes from here to the left by half of the new side: to the same place as in the image.
                left, top = (SCALE * (place - side // 2) for place in (x, y))
                pixels = cut(pixels, (left + side, top + side), SCALE * side)
            return store.put(row, pixels)

        # One photograph after another, so that each is decoded once.
        names = rows["image"].map(frames["photograph"])
        ordered = list(rows.loc[names.sort_values(kind="stable").index].itertuples(index=False))
        store.finish({entry.image: entry for entry in side_by_side(make, ordered, threads, "warp")})
    return {"upscaling": {"enlarger": "photograph", "images": len(rows)}}


def _check_size(name: str, photograph: np.ndarray, image_name: str, image: np.ndarray) -> None:
    ratio = photograph.shape[0] / image.shape[0]
    if not USABLE[0] <= ratio <= USABLE[1]:
        raise InputError(
            f"{name}: the photograph has {ratio:.2g} times the height of its image {image_name}, and the variant "
            "ceiling needs about twice; take ceiling out of variants"
        )
