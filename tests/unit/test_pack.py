"""Packing: pixels equal those of a simple implementation, in the order of images.csv; wrong images are rejected."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from wbcsr import imaging
from wbcsr.classify.pack import PackSummary, pack
from wbcsr.errors import InputError

CLASSES = ("ROUND", "LOBED")
SIDE = 32


class Variant:
    """Images in a folder for each class with a manifest, and images.csv in another order."""

    def __init__(self, root: Path, number: int = 8) -> None:
        self.root = root
        rng = np.random.default_rng(0)
        rows = []
        for position in range(number):
            name = CLASSES[position % 2]
            file = f"{position}.png"
            folder = root / "images" / name
            folder.mkdir(parents=True, exist_ok=True)
            height, width = 40 + position % 7, 90 - position % 5
            pixels = cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (width, height))
            Image.fromarray(pixels).save(folder / file)
            rows.append(
                {
                    "image": f"TRAIN/{name}/{position}.jpeg",
                    "partition": "TRAIN",
                    "class": name,
                    "file": file,
                    "width": width,
                    "height": height,
                    "sha256": hashlib.sha256((folder / file).read_bytes()).hexdigest(),
                    "input_sha256": f"original {position}",
                }
            )
        table = pd.DataFrame(rows)
        columns = ["image", "file", "width", "height", "sha256", "input_sha256"]
        for name, part in table.groupby("class"):
            part[columns].to_csv(self.manifest(str(name)), index=False)
        self.images = table.drop(columns=["sha256", "file"]).rename(columns={"input_sha256": "sha256"})
        self.images = self.images.sample(frac=1, random_state=1)
        self.images.to_csv(self.images_csv, index=False)

    @property
    def images_csv(self) -> Path:
        return self.root / "images.csv"

    def manifest(self, name: str) -> Path:
        return self.root / "images" / name / "manifest.csv"

    def file(self, image: str) -> Path:
        _, name, file = image.split("/")
        return self.root / "images" / name / file.replace(".jpeg", ".png")

    def change(self, edit: Callable[[pd.DataFrame], pd.DataFrame], name: str = CLASSES[0]) -> None:
        edit(pd.read_csv(self.manifest(name))).to_csv(self.manifest(name), index=False)

    def pack(self, name: str = "packed", threads: int = 2) -> PackSummary:
        manifests = [self.manifest(name) for name in CLASSES]
        return pack(manifests, self.images_csv, SIDE, self.array(name), self.root / f"{name}.csv", threads)

    def array(self, name: str = "packed") -> Path:
        return self.root / f"{name}.npy"


@pytest.fixture
def variant(tmp_path: Path) -> Variant:
    return Variant(tmp_path)


def test_pixels_and_order_equal_those_of_a_simple_implementation(variant: Variant) -> None:
    summary = variant.pack()
    packed = np.load(variant.array(), mmap_mode="r")
    assert isinstance(packed, np.memmap)
    assert (packed.shape, packed.dtype) == ((8, SIDE, SIDE, 3), np.uint8)
    index = pd.read_csv(variant.root / "packed.csv")
    assert list(index.columns) == ["image", "partition", "class", "sha256"]
    assert list(index["image"]) == list(variant.images["image"])
    for row, (image, digest) in enumerate(zip(index["image"], index["sha256"], strict=True)):
        assert hashlib.sha256(packed[row].tobytes()).hexdigest() == digest
        plain = Image.open(variant.file(image)).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(packed[row], np.asarray(plain))
    assert summary.images == 8
    assert summary.images_per_second > 0


def test_the_number_of_threads_changes_nothing(variant: Variant) -> None:
    variant.pack("one", threads=1)
    variant.pack("three", threads=3)
    assert variant.array("one").read_bytes() == variant.array("three").read_bytes()


@pytest.mark.parametrize("shape", [(240, 320), (960, 1280), (20, 17), (SIDE, SIDE)])
def test_interpolation_is_antialiased(shape: tuple[int, int]) -> None:
    """torch's antialiased interpolation in floating point differs only by rounding to 8 bits."""
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    batch = torch.from_numpy(pixels).permute(2, 0, 1)[None].double()
    wanted = torch.nn.functional.interpolate(batch, size=(SIDE, SIDE), mode="bilinear", antialias=True)
    packed = imaging.to_square(pixels, SIDE)
    assert packed.dtype == np.uint8
    assert np.abs(packed - wanted[0].permute(1, 2, 0).numpy()).max() <= 1.5


@pytest.mark.parametrize(("mode", "expected"), [("L", [90, 90, 90]), ("RGBA", [200, 90, 10]), ("I;16", [90, 90, 90])])
def test_any_kind_of_image_becomes_rgb(variant: Variant, mode: str, expected: list[int]) -> None:
    image = variant.images["image"].iloc[0]
    flat = {
        "L": np.full((40, 60), 90, np.uint8),
        "RGBA": np.full((40, 60, 4), [200, 90, 10, 128], np.uint8),
        "I;16": np.full((40, 60), 90 * 257, np.uint16),
    }[mode]
    Image.fromarray(flat).save(variant.file(image))
    digest = hashlib.sha256(variant.file(image).read_bytes()).hexdigest()
    variant.change(
        lambda table: table.assign(sha256=table["sha256"].mask(table["image"] == image, digest)), image.split("/")[1]
    )
    variant.pack()
    np.testing.assert_array_equal(np.load(variant.array())[0], np.broadcast_to(expected, (SIDE, SIDE, 3)))


def spoil_a_byte(variant: Variant) -> None:
    content = bytearray(variant.file("TRAIN/ROUND/0.jpeg").read_bytes())
    content[len(content) // 2] ^= 1
    variant.file("TRAIN/ROUND/0.jpeg").write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            spoil_a_byte,
            r"ROUND/0\.png: is not the file that .*manifest\.csv describes.* --force -- .*ROUND/manifest\.csv",
        ),
        (lambda v: v.file("TRAIN/ROUND/2.jpeg").unlink(), r"ROUND/2\.png: cannot be read.*--force -- .*manifest\.csv"),
        (lambda v: v.change(lambda t: t.iloc[1:]), r"images\.csv: 1 of its images are in no manifest"),
        (
            lambda v: v.change(lambda t: t.replace({"image": {t["image"].iat[0]: "TRAIN/ROUND/new.jpeg"}})),
            r"manifest\.csv: lists TRAIN/ROUND/new\.jpeg, which is not in",
        ),
        (lambda v: v.change(lambda t: t.iloc[[0, 1, 2, 3, 0]]), r"lists TRAIN/ROUND/0\.jpeg, which .* also lists"),
        (
            lambda v: v.change(lambda t: t.assign(input_sha256="older")),
            r"TRAIN/ROUND/0\.jpeg was made from a file that differs .*images\.csv",
        ),
    ],
    ids=["damaged", "deleted", "missing", "surplus", "twice", "other input"],
)
def test_a_file_that_differs_from_its_manifest_is_an_error(
    variant: Variant, damage: Callable[[Variant], None], message: str
) -> None:
    damage(variant)
    with pytest.raises(InputError, match=message):
        variant.pack()
    assert not list(variant.root.glob("packed*")), "a file that looks complete was left behind"


# Packs with one thread, and kills itself at image 150, like a failing machine.
KILLED = """
import os, signal, sys
from pathlib import Path
from wbcsr import imaging
from wbcsr.classify.pack import pack

images, array, *manifests = map(Path, sys.argv[1:])
square, sides = imaging.to_square, []

def killing(pixels, side):
    sides.append(side)
    if len(sides) == 150:
        os.kill(os.getpid(), signal.SIGKILL)
    return square(pixels, side)

imaging.to_square = killing
pack(manifests, images, 32, array, array.with_suffix(".csv"), 1)
"""


def spoil_a_row(variant: Variant) -> None:
    unfinished = variant.root / ".packed.npy"
    content = bytearray(unfinished.read_bytes())
    content[128 + 5 * SIDE * SIDE * 3] ^= 1
    unfinished.write_bytes(content)


def change_an_image(variant: Variant) -> None:
    image = variant.images["image"].iloc[5]
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(variant.file(image))
    digest = hashlib.sha256(variant.file(image).read_bytes()).hexdigest()
    name = image.split("/")[1]
    variant.change(lambda table: table.assign(sha256=table["sha256"].mask(table["image"] == image, digest)), name)


@pytest.mark.parametrize(
    ("meanwhile", "again"),
    [
        (lambda _: None, 32),
        (spoil_a_row, 33),
        (change_an_image, 33),
        (lambda v: (v.root / ".packed.npy").unlink(), 160),
        (lambda v: (v.root / ".packed.ledger").write_text("{"), 160),
    ],
    ids=["nothing", "a damaged row", "a changed image", "no rows", "no ledger"],
)
def test_a_killed_job_goes_on_where_it_was_and_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[Variant], object], again: int
) -> None:
    variant = Variant(tmp_path, 160)
    files = [variant.images_csv, variant.array(), *map(variant.manifest, CLASSES)]
    killed = subprocess.run([sys.executable, "-c", KILLED, *map(str, files)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not list(tmp_path.glob("packed*"))
    meanwhile(variant)
    read = []
    with monkeypatch.context() as counting:
        real = imaging.read_listed
        counting.setattr(imaging, "read_listed", lambda *listed: (read.append(listed), real(*listed))[1])
        summary = variant.pack()
    assert (len(read), summary.images_kept) == (again, 160 - again)
    variant.pack("fresh")
    for name in ("{}.npy", "{}.csv"):
        assert (tmp_path / name.format("packed")).read_bytes() == (tmp_path / name.format("fresh")).read_bytes()
    assert not list(tmp_path.glob(".*")), "the unfinished array or its ledger was left behind"


def test_packed_images_are_not_kept_in_memory(tmp_path: Path) -> None:
    """240 further images need far less memory than their pixels."""
    peaks = []
    for number in (80, 320):
        folder = tmp_path / str(number)
        folder.mkdir()
        variant = Variant(folder, number)
        tracemalloc.start()
        variant.pack(threads=1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 240 * SIDE * SIDE * 3 / 2
