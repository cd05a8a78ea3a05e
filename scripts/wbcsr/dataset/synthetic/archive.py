"""The archive of synthetic photographs and of their augmented duplicates."""

from __future__ import annotations

import csv
import io
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from wbcsr.dataset.synthetic.cells import KINDS
from wbcsr.dataset.synthetic.geometry import Random
from wbcsr.dataset.synthetic.photograph import Pixels, draw_photograph
from wbcsr.files import replacing

IMAGES = "dataset2-master/dataset2-master/images"
PHOTOGRAPHS = "dataset-master/dataset-master/JPEGImages"
LABELS = "dataset-master/dataset-master/labels.csv"
# Pillow's default, which the published images use too.
JPEG_QUALITY = 75


def make_synthetic_archive(
    path: str | Path,
    classes: Sequence[str],
    *,
    image_size: tuple[int, int] = (160, 120),
    train_per_class: int = 24,
    test_per_class: int = 8,
    duplicates_per_source: int = 4,
    partitions: Sequence[str] = ("TRAIN", "TEST"),
    seed: int = 0,
) -> None:
    """Draw a data set and write it to the zip file `path` in the layout of the study's archive.

    `image_size` is (width, height) in pixels; photographs are twice as wide and high. A class with a name in `KINDS`
    has that appearance; any other class uses the kind at its position, and the kinds repeat. The first of the
    `partitions` has `train_per_class` images of each class, the others `test_per_class`; each partition has its own
    photographs. An image `_<n>_<m>.jpeg` is duplicate n of photograph m, so that duplicates of one photograph are both
    in training and in validation with the paper split, as in the study. A seed always gives the same bytes, and an
    image does not depend on the number of other images.
    """
    size = (2 * image_size[0], 2 * image_size[1])
    labels: list[str] = []
    with replacing(path) as beside, zipfile.ZipFile(beside, "w") as archive:
        for place, partition in enumerate(partitions):
            images = train_per_class if place == 0 else test_per_class
            sources = -(-images // duplicates_per_source)
            for position, name in enumerate(classes):
                kind = name if name in KINDS else list(KINDS)[position % len(KINDS)]
                for source in range(sources):
                    key = [seed, zlib.crc32(partition.encode()), zlib.crc32(name.encode()), source]
                    photograph = draw_photograph(size, kind, np.random.default_rng(key))
                    number = len(labels)
                    _add(archive, f"{PHOTOGRAPHS}/BloodImage_{number:05d}.jpg", _jpeg(photograph))
                    labels.append(name)
                    for duplicate in range(images // sources + (source < images % sources)):
                        image = augmented_duplicate(photograph, np.random.default_rng([*key, duplicate]))
                        _add(archive, f"{IMAGES}/{partition}/{name}/_{duplicate}_{number}.jpeg", _jpeg(image))
        table = io.StringIO(newline="")
        csv.writer(table).writerows([("", "Image", "Category"), *(("", n, name) for n, name in enumerate(labels))])
        _add(archive, LABELS, table.getvalue().encode())


def augmented_duplicate(photograph: Pixels, rng: Random) -> Pixels:
    """Return a photograph rotated, sheared, shifted and randomly flipped, at half the size; black outside its edges."""
    height, width = photograph.shape[:2]
    angle, shear = np.radians(rng.uniform(-35, 35)), rng.uniform(-0.12, 0.12)
    flips = np.diag(rng.choice([-1.0, 1.0], 2))
    linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = linear @ np.array([[1, shear], [0, 1]]) @ flips
    middle = np.array([width - 1, height - 1]) / 2
    shift = rng.uniform(-0.08, 0.08, 2) * [width, height]
    matrix = np.column_stack([linear, middle + shift - linear @ middle])
    moved = cv2.warpAffine(photograph, matrix, (width, height), flags=cv2.INTER_LINEAR)
    return np.asarray(cv2.resize(moved, (width // 2, height // 2), interpolation=cv2.INTER_AREA), np.uint8)


def _jpeg(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Add a file with a fixed time and mode, so that the archive depends only on its content."""
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.create_system, entry.external_attr = 3, 0o644 << 16
    archive.writestr(entry, content)
