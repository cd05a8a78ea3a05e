"""Images for what reads files: one folder for each manifest, as torchvision's ImageFolder takes classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from wbcsr.benchmark.images import gather
from wbcsr.files import read_csv, write_csv
from wbcsr.upscale.interpolation import Interpolation
from wbcsr.upscale.shard import MANIFEST_COLUMNS, upscale_shard

# Its files decode as those of a network do, and cost no hours.
METHOD, SCALE = "lanczos", 4


def copy_images(manifests: Sequence[Path], count: int, folder: Path) -> list[Path]:
    """The manifests of about `count` whole images, as many from each of `manifests`; those of `count` at most are left.

    InputError where a manifest names no image.
    """
    each = max(1, count // len(manifests))
    copied = manifests[:count]
    return [gather([path], each, None, folder / f"{number:03}").manifest for number, path in enumerate(copied)]


def enlarge_images(manifests: Sequence[Path], folder: Path, threads: int) -> list[Path]:
    """The manifests of the same images, `SCALE` times as high and wide, as PNG."""
    enlarged = [folder / path.parent.name / path.name for path in manifests]
    for source, target in zip(manifests, enlarged, strict=True):
        upscale_shard(source, target, 1, 1, Interpolation(METHOD, SCALE), threads)
    return enlarged


def list_images(manifests: Sequence[Path], path: Path) -> pd.DataFrame:
    """Write images.csv for the manifests, each one of which becomes a class; gives its rows, of whole files."""
    tables = [read_csv(manifest, MANIFEST_COLUMNS).assign(name=manifest.parent.name) for manifest in manifests]
    rows = pd.concat(tables)
    images = pd.DataFrame(
        {"image": rows["image"], "partition": "TRAIN", "class": rows["name"], "sha256": rows["input_sha256"]}
    )
    write_csv(path, images)
    return images
