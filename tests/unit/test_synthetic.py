"""The synthetic data set has the study's layout, and its classes can be distinguished."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from wbcsr.dataset.synthetic import archive as synthetic
from wbcsr.dataset.synthetic.archive import augmented_duplicate, make_synthetic_archive
from wbcsr.dataset.synthetic.photograph import draw_photograph
from wbcsr.files import sha256
from wbcsr.imaging import decode

CLASSES = ["EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL"]
SMALL = {"image_size": (64, 48), "train_per_class": 5, "test_per_class": 2, "duplicates_per_source": 2}
IMAGE = re.compile(
    rf"{synthetic.IMAGES}/(?P<partition>[^/]+)/(?P<name>[^/]+)/_(?P<duplicate>\d+)_(?P<photograph>\d+)\.jpeg"
)
PHOTOGRAPH = re.compile(rf"{synthetic.PHOTOGRAPHS}/BloodImage_(?P<number>\d{{5}})\.jpg")


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def labels(files: dict[str, bytes]) -> dict[int, str]:
    rows = list(csv.reader(io.StringIO(files[synthetic.LABELS].decode(), newline="")))
    assert rows[0] == ["", "Image", "Category"]
    return {int(number): name for _, number, name in rows[1:]}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("drawn") / "drawn.zip"
    make_synthetic_archive(path, CLASSES, **SMALL)
    return path


def photographs(kind: str, count: int = 8) -> list[np.ndarray]:
    return [draw_photograph((320, 240), kind, np.random.default_rng([5, n])) for n in range(count)]


def nucleus(photograph: np.ndarray) -> np.ndarray:
    """The largest dark violet region."""
    red, green, blue = (photograph[..., channel].astype(int) for channel in range(3))
    dark = ((blue - green > 60) & (red < 160)).astype(np.uint8)
    _, regions, table, _ = cv2.connectedComponentsWithStats(cv2.dilate(dark, np.ones((7, 7))))
    return (regions == 1 + np.argmax(table[1:, cv2.CC_STAT_AREA])) & (dark > 0)


def cytoplasm(photograph: np.ndarray) -> np.ndarray:
    """Pixels within 8 pixels of the nucleus that are darker than the background."""
    inside = nucleus(photograph).astype(np.uint8)
    ring = cv2.dilate(inside, np.ones((17, 17))) - cv2.dilate(inside, np.ones((7, 7)))
    return (ring > 0) & (photograph[..., 1] < 180)


def roundness(mask: np.ndarray) -> float:
    """The share of its convex hull that the region fills."""
    points = cv2.findNonZero(mask.astype(np.uint8))
    return float(mask.sum() / cv2.contourArea(cv2.convexHull(points)))


def test_layout_and_counts(small: Path) -> None:
    files = contents(small)
    images = [match for name in files if (match := IMAGE.fullmatch(name))]
    drawn = {int(match["number"]) for name in files if (match := PHOTOGRAPH.fullmatch(name))}
    assert len(images) + len(drawn) + 1 == len(files)
    for name in CLASSES:
        for partition, wanted in (("TRAIN", 5), ("TEST", 2)):
            assert sum(m["name"] == name and m["partition"] == partition for m in images) == wanted
    assert drawn == set(labels(files)) == {int(match["photograph"]) for match in images}


def test_duplicates_have_the_class_of_their_photograph_and_one_partition(small: Path) -> None:
    files = contents(small)
    category, partitions = labels(files), {}
    for name in files:
        if match := IMAGE.fullmatch(name):
            assert category[int(match["photograph"])] == match["name"]
            partitions.setdefault(match["photograph"], set()).add(match["partition"])
    assert all(len(found) == 1 for found in partitions.values())


def test_the_validation_images_have_duplicates_in_training(tmp_path: Path) -> None:
    make_synthetic_archive(
        tmp_path / "a.zip",
        ["A", "B"],
        image_size=(48, 48),
        train_per_class=10,
        test_per_class=1,
        duplicates_per_source=5,
    )
    names = sorted(name for name in contents(tmp_path / "a.zip") if "/TRAIN/A/" in name)
    sources = [IMAGE.fullmatch(name)["photograph"] for name in names]
    assert set(sources[:2]) & set(sources[2:])


def test_every_file_is_an_image_and_photographs_are_twice_as_large(small: Path) -> None:
    for name, content in contents(small).items():
        if IMAGE.fullmatch(name):
            assert decode(content, name).shape == (48, 64, 3)
        elif PHOTOGRAPH.fullmatch(name):
            assert decode(content, name).shape == (96, 128, 3)


def test_the_same_seed_gives_the_same_archive(small: Path, tmp_path: Path) -> None:
    make_synthetic_archive(tmp_path / "same.zip", CLASSES, **SMALL)
    make_synthetic_archive(tmp_path / "other.zip", CLASSES, **SMALL, seed=1)
    assert sha256(tmp_path / "same.zip") == sha256(small) != sha256(tmp_path / "other.zip")


def test_an_image_does_not_depend_on_the_number_of_images(small: Path, tmp_path: Path) -> None:
    make_synthetic_archive(tmp_path / "more.zip", CLASSES[:3], **{**SMALL, "train_per_class": 6, "test_per_class": 4})
    fewer, more = contents(small), contents(tmp_path / "more.zip")
    for name in CLASSES[:3]:
        of_fewer = {content for path, content in fewer.items() if f"/{name}/" in path}
        of_more = {content for path, content in more.items() if f"/{name}/" in path}
        assert len(of_fewer) == 7
        assert of_fewer < of_more


def test_other_class_names_use_the_four_cell_types_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names, partitions, kinds = ["a", "MONOCYTE", "Zelle ä", "d", "e"], ("fit", "look", "check"), []
    monkeypatch.setattr(
        synthetic, "draw_photograph", lambda size, kind, rng: kinds.append(kind) or draw_photograph(size, kind, rng)
    )
    make_synthetic_archive(
        tmp_path / "a.zip", names, image_size=(48, 48), train_per_class=1, test_per_class=1, partitions=partitions
    )
    found = {(m["partition"], m["name"]) for path in contents(tmp_path / "a.zip") if (m := IMAGE.fullmatch(path))}
    assert found == {(partition, name) for partition in partitions for name in names}
    assert kinds == 3 * ["NEUTROPHIL", "MONOCYTE", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL"]


@pytest.mark.parametrize("size", [(48, 48), (48, 200), (200, 48), (101, 53), (320, 240)])
def test_images_may_have_any_shape(size: tuple[int, int]) -> None:
    width, height = size
    photograph = draw_photograph((2 * width, 2 * height), "MONOCYTE", np.random.default_rng(0))
    assert photograph.shape == (2 * height, 2 * width, 3)
    assert nucleus(photograph).sum() > 100
    assert augmented_duplicate(photograph, np.random.default_rng(0)).shape == (height, width, 3)


def test_duplicates_are_rotated_with_black_corners() -> None:
    photograph = photographs("NEUTROPHIL", 1)[0]
    duplicates = [augmented_duplicate(photograph, np.random.default_rng(n)) for n in range(12)]
    black = [float((image.max(axis=2) == 0).mean()) for image in duplicates]
    assert photograph.max(axis=2).min() > 0
    assert 0.03 < np.mean(black) < 0.4
    # The white cell is visible in every duplicate; otherwise its label would be wrong.
    assert all(nucleus(image).sum() > 0.12 * nucleus(photograph).sum() for image in duplicates)


def test_cell_types_have_their_typical_shapes() -> None:
    drawn = {kind: photographs(kind) for kind in CLASSES}
    area = {kind: np.mean([nucleus(p).sum() for p in drawn[kind]]) for kind in CLASSES}
    fill = {kind: np.mean([roundness(nucleus(p)) for p in drawn[kind]]) for kind in CLASSES}
    ring = {kind: np.mean([p[cytoplasm(p)].mean(axis=0) for p in drawn[kind]], axis=0) for kind in CLASSES}
    red_over_blue = {kind: ring[kind][0] - ring[kind][2] for kind in CLASSES}
    assert area["MONOCYTE"] > area["LYMPHOCYTE"] > area["NEUTROPHIL"]
    assert fill["LYMPHOCYTE"] > 0.93
    assert fill["LYMPHOCYTE"] > fill["MONOCYTE"] > fill["NEUTROPHIL"]
    assert red_over_blue["EOSINOPHIL"] > red_over_blue["NEUTROPHIL"] + 10
    assert red_over_blue["NEUTROPHIL"] > red_over_blue["MONOCYTE"] + 10
