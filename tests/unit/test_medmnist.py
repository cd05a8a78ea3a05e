"""MedMNIST's .npz files, written here in the published layout."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from defaults import LIMITS, config_of
from wbcsr import imaging
from wbcsr.dataset.archive import open_archive
from wbcsr.dataset.ingest import ingest
from wbcsr.errors import InputError
from wbcsr.files import read_csv

CLASSES = ["basophil", "immature granulocyte"]
SIZES = {"train": 5, "val": 2, "test": 3}


def arrays(shape: tuple[int, ...] = (28, 28, 3)) -> dict[str, Any]:
    """Noise; the labels alternate."""
    rng = np.random.default_rng(0)
    found = {}
    for name, size in SIZES.items():
        found[f"{name}_images"] = rng.integers(0, 256, (size, *shape), dtype=np.uint8)
        found[f"{name}_labels"] = (np.arange(size) % 2).astype(np.uint8)[:, None]
    return found


def saved(path: Path, found: dict[str, Any]) -> Path:
    with open(path, "wb") as file:
        np.savez_compressed(file, **found)
    return path


@pytest.mark.parametrize("shape", [(28, 28, 3), (64, 64)])
@pytest.mark.parametrize(("classes", "names"), [(CLASSES, CLASSES), (["1", "0"], ["0", "1"])])
def test_the_pixels_are_those_of_the_arrays(
    tmp_path: Path, shape: tuple[int, ...], classes: list[str], names: list[str]
) -> None:
    found = arrays(shape)
    with open_archive(saved(tmp_path / "cells.NPZ", found), LIMITS, classes=classes) as archive:
        assert len(archive.entries) == sum(SIZES.values())
        for name, size in SIZES.items():
            for row in range(size):
                entry = f"{name}/{names[row % 2]}/{name}_{row:06}.png"
                pixels = imaging.decode(archive.read(entry), entry)
                np.testing.assert_array_equal(pixels, found[f"{name}_images"][row])


def taken_in(folder: Path, archive: Path, **dataset: Any) -> pd.DataFrame:
    settings = {"splits": ["by_source"], "sources": {"method": "each"}}
    section = config_of(dataset={"classes": CLASSES, **dataset}, **settings)["dataset"]
    ingest(archive, section, folder / "images.csv", folder / "rejected.csv", folder / "originals", {})
    return read_csv(folder / "images.csv", ["image", "partition", "class", "width", "height"])


def test_it_is_taken_in_as_published(tmp_path: Path) -> None:
    archive = saved(tmp_path / "cells.npz", arrays())
    partitions = {"train": "train", "validation": "val", "test": "test"}
    images = taken_in(tmp_path, archive, partitions=partitions)
    assert images.groupby("partition").size().to_dict() == SIZES
    assert set(images["class"]) == set(CLASSES)
    assert set(images["width"].astype(int)) == {28}
    assert len(taken_in(tmp_path, archive, partitions=None)) == sum(SIZES.values())


LABELS = arrays()["train_labels"]


@pytest.mark.parametrize(
    ("changed", "classes", "says"),
    [
        ({"train_images": None}, CLASSES, "lacks the array 'train_images'"),
        ({"val_labels": None}, CLASSES, "lacks the array 'val_labels'"),
        ({"train_labels": LABELS + 1}, CLASSES, "train_labels has 2, .* 0 to 1; name all classes in the order"),
        ({"train_labels": LABELS.astype(np.int8) - 1}, ["0", "1"], "train_labels has -1"),
        ({"train_labels": LABELS[1:]}, CLASSES, "train_labels are"),
        ({"train_labels": np.tile(LABELS, (1, 14))}, CLASSES, "train_labels are"),
        ({"train_labels": LABELS.astype(float)}, CLASSES, "train_labels are"),
        ({"train_labels": LABELS.astype(object)}, CLASSES, "array 'train_labels' cannot be read .*objects"),
        ({"train_images": np.zeros((5, 28, 28, 28), np.uint8)}, CLASSES, r"train_images are \(5, 28, 28, 28\) uint8"),
        ({"train_images": np.zeros((5, 28, 28, 3), np.float32)}, CLASSES, "train_images are .* float32"),
    ],
)
def test_another_layout_is_refused(tmp_path: Path, changed: dict[str, Any], classes: list[str], says: str) -> None:
    found = {name: array for name, array in (arrays() | changed).items() if array is not None}
    path = saved(tmp_path / "cells.npz", found)
    with pytest.raises(InputError, match=rf"^{path}: {says}") as caught:
        open_archive(path, LIMITS, classes=classes)
    assert "\n" not in str(caught.value)


def header_of_more(content: bytes) -> bytes:
    """The labels' header claims more than there is memory for."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(packed, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(
                name, data.replace(b"(5, 1), ", b"(5" + b"0" * 14 + b", 1), ") if "train_labels" in name else data
            )
    return packed.getvalue()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:300] + bytes(100) + content[400:],
        lambda content: b"no zip file",
        header_of_more,
    ],
)
def test_a_damaged_file_gives_one_line(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = saved(tmp_path / "cells.npz", arrays())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=rf"^{path}: .*(download|copy)") as caught:
        open_archive(path, LIMITS, classes=CLASSES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("limit", "shape"), [("files", (28, 28, 3)), ("file_mb", (600, 600, 3)), ("total_gb", (28, 28, 3))]
)
def test_limits_hold(tmp_path: Path, limit: str, shape: tuple[int, ...]) -> None:
    path = saved(tmp_path / "cells.npz", arrays(shape))
    least = {"files": 9, "file_mb": 1, "total_gb": 0}[limit]
    with pytest.raises(InputError, match=rf"more than the limit of .*dataset\.limits\.{limit}$"):
        open_archive(path, {**LIMITS, limit: least}, classes=CLASSES)


def test_arrays_that_grow_too_much_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "cells.npz", arrays() | {"train_images": np.zeros((5, 600, 600, 3), np.uint8)})
    with pytest.raises(InputError, match=r"dataset\.limits\.ratio"):
        open_archive(path, LIMITS, classes=CLASSES)
