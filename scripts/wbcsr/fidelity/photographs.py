"""The photographs of an archive, with the classes that its labels.csv gives them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from wbcsr.dataset.archive import Archive
from wbcsr.dataset.photographs import categories, number_of
from wbcsr.errors import InputError
from wbcsr.files import IMAGE_SUFFIXES
from wbcsr.imaging import decode_as_configured, to_rgb8
from wbcsr.names import clean_path

# With a smaller side, too little would remain after halving for a comparison.
LEAST_SIDE = 64
INSTEAD = "correct dataset.photographs, or set fidelity.per_class to 0"


@dataclass(frozen=True)
class Photograph:
    """A photograph: its path in the archive, its class, and its pixels (H, W, 3) uint8 with even sides."""

    name: str
    class_name: str
    pixels: np.ndarray


def choose(
    archive: Archive, dataset: Mapping[str, Any], per_class: int, unseen: Collection[str] | None = None
) -> list[tuple[str, str]]:
    """The first `per_class` photographs of each class in sorted order, as (path in the archive, class).

    The folder `dataset["photographs"]` holds the photographs. `labels.csv` next to it gives their classes, or members
    of these (columns Image and Category), by the number at the end of the file names. Photographs with several classes
    or none are left out, and so is a class without photographs. If a network was fine-tuned, only photographs that are
    `unseen` by it (their names in the folder) are chosen. Raises InputError if the folder has no photograph, if
    labels.csv is missing or cannot be read, or if no photograph is left.
    """
    folder, classes = clean_path(dataset["photographs"].strip("/")), dataset["classes"]
    paths = sorted(path for path in archive.entries if _is_photograph(path, folder))
    if not paths:
        raise InputError(f"{archive.path}: has no photographs in {folder}; {INSTEAD}")
    found: dict[int, set[str]] = {}
    for number, category in categories(archive, dataset, INSTEAD):
        found.setdefault(number, set()).add(category)
    labels: dict[int | None, str] = {number: names.pop() for number, names in found.items() if len(names) == 1}
    by_class: dict[str, list[str]] = {name: [] for name in classes}
    for path in paths:
        named = labels.get(number_of(path))
        if named in by_class and (unseen is None or PurePosixPath(path).name in unseen):
            by_class[named].append(path)
    chosen = [(path, name) for name in classes for path in by_class[name][:per_class]]
    if not chosen:
        which = "" if unseen is None else " that the fine-tuned network has not seen"
        raise InputError(f"{archive.path}: labels.csv names no photograph of {', '.join(classes)}{which}; {INSTEAD}")
    return chosen


def read(archive: Archive, chosen: Sequence[tuple[str, str]], dataset: Mapping[str, Any]) -> Iterator[Photograph]:
    """Decode photographs one by one, as `dataset` says; an odd last row or column is cut off.

    Raises InputError if a photograph cannot be used.
    """
    for path, name in chosen:
        pixels = to_rgb8(decode_as_configured(archive.read(path), f"{archive.path}: {path}", dataset))
        height, width = (side - side % 2 for side in pixels.shape[:2])
        if min(height, width) < LEAST_SIDE:
            raise InputError(
                f"{archive.path}: {path} has {width}×{height} pixels; each side needs at least {LEAST_SIDE}; {INSTEAD}"
            )
        yield Photograph(path, name, pixels[:height, :width])


def _is_photograph(path: str, folder: str) -> bool:
    pure = PurePosixPath(path)
    return pure.parent.as_posix() == folder and pure.suffix.lower() in IMAGE_SUFFIXES and not pure.name.startswith(".")
