"""The images of the benchmarks: real images of one size, cropped on a slow machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from wbcsr import imaging
from wbcsr.engines.profile import Size
from wbcsr.errors import InputError
from wbcsr.files import sha256, write_bytes, write_csv
from wbcsr.upscale.shard import spread
from wbcsr.upscale.store import MANIFEST_COLUMNS, Entry

# Values of `auto` by device: side length of crops, and images per shard.
CROP = {"cpu": 64, "cuda": None}
COUNT = {"cpu": 4, "cuda": 256}


@dataclass(frozen=True)
class Images:
    """The images of a benchmark: `files` of one `size` and their manifest; `note` describes a crop."""

    manifest: Path
    files: list[Path]
    size: Size
    note: str | None


def count_of(settings: Mapping[str, Any], device: str) -> int:
    """Return the number of images of a shard on `device`, from the section benchmark of the configuration."""
    return COUNT[device] if settings["images"] == "auto" else int(settings["images"])


def crop_of(settings: Mapping[str, Any], device: str) -> int | None:
    """Return the side of crops on `device`, from the section benchmark of the configuration; None for whole images."""
    return CROP[device] if settings["crop"] == "auto" else int(settings["crop"])


def gather(manifests: Sequence[Path], count: int, crop: int | None, folder: Path) -> Images:
    """Copy at most `count` images of the most common size, spread over the manifests, to `folder`.

    Larger images are cropped at the centre to sides of `crop` pixels. Raises InputError if the manifests list no image.
    """
    rows = spread(manifests)
    if rows.empty:
        raise InputError(f"{manifests[0]}: lists no image for the benchmark; check dataset.archive")
    sizes = Counter(zip(rows["height"], rows["width"], strict=True))
    height, width = max(sizes, key=lambda size: (sizes[size], size))
    alike = rows[(rows["height"] == height) & (rows["width"] == width)]
    cut = (min(height, crop or height), min(width, crop or width))
    entries: list[Entry] = []
    for row in alike.head(count).itertuples():
        content, suffix = (row.folder / row.file).read_bytes(), Path(row.file).suffix
        if cut != (height, width):
            pixels = imaging.decode(content, row.image)
            top, left = (height - cut[0]) // 2, (width - cut[1]) // 2
            content, suffix = imaging.encode_png(pixels[top : top + cut[0], left : left + cut[1]]), ".png"
        file = folder / f"{len(entries)}{suffix}"
        write_bytes(file, content)
        digest = sha256(file)
        entries.append(Entry(row.image, file.name, cut[1], cut[0], digest, digest))
    write_csv(folder / "manifest.csv", pd.DataFrame([asdict(entry) for entry in entries], columns=MANIFEST_COLUMNS))
    note = None if cut == (height, width) else f"images are centre crops of {height}×{width} images"
    return Images(folder / "manifest.csv", [folder / entry.file for entry in entries], cut, note)
