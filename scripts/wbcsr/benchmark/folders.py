"""Image folders for the benchmarks: one folder per manifest, as torchvision's ImageFolder expects for classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from wbcsr.benchmark.images import gather
from wbcsr.files import read_csv, write_csv
from wbcsr.upscale.interpolation import Interpolation
from wbcsr.upscale.shard import upscale_shard
from wbcsr.upscale.store import MANIFEST_COLUMNS

# Its PNG files decode like those of a network, but do not take hours to make.
METHOD, SCALE = "lanczos", 4


def copy_images(manifests: Sequence[Path], count: int, folder: Path) -> list[Path]:
    """Copy about `count` images, equally many from each of `manifests`, and return their manifests (at most `count`).

    Raises InputError if a manifest lists no image.
    """
    each = max(1, count // len(manifests))
    copied = manifests[:count]
    return [gather([path], each, None, folder / f"{number:03}").manifest for number, path in enumerate(copied)]


def enlarge_images(manifests: Sequence[Path], folder: Path, threads: int) -> list[Path]:
    """Upscale the images `SCALE` times, as PNG, and return their manifests."""
    enlarged = [folder / path.parent.name / path.name for path in manifests]
    for source, target in zip(manifests, enlarged, strict=True):
        upscale_shard(source, target, 1, 1, Interpolation(METHOD, SCALE), threads)
    return enlarged


def list_images(manifests: Sequence[Path], path: Path) -> pd.DataFrame:
    """Write images.csv for the manifests, each of which becomes a class; returns its rows."""
    tables = [read_csv(manifest, MANIFEST_COLUMNS).assign(name=manifest.parent.name) for manifest in manifests]
    rows = pd.concat(tables)
    images = pd.DataFrame(
        {"image": rows["image"], "partition": "TRAIN", "class": rows["name"], "sha256": rows["input_sha256"]}
    )
    write_csv(path, images)
    return images
