"""Sources: every source that is found is correct, most are found, and each mistake gives one line."""

from __future__ import annotations

import hashlib
import random
import re
import zipfile
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from defaults import LIMITS
from wbcsr import imaging
from wbcsr.dataset.archive import open_archive
from wbcsr.dataset.ingest import ingest
from wbcsr.dataset.sources import (
    FRAME_COLUMNS,
    OVERLAP,
    SOURCE_COLUMNS,
    Fit,
    Index,
    best_field,
    features,
    fields,
    find_sources,
)
from wbcsr.dataset.synthetic.archive import PHOTOGRAPHS, augmented_duplicate, make_synthetic_archive
from wbcsr.dataset.synthetic.photograph import draw_photograph
from wbcsr.errors import InputError
from wbcsr.files import read_csv

CLASSES = ["EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL"]
SETTINGS = {"method": "photographs", "pattern": None, "table": None, "min_inliers": 12}
# The name of a synthetic image: `_<copy>_<photograph>.jpeg`.
DRAWN = re.compile(r"_\d+_(\d+)\.jpeg$")
SIZE = (160, 120)


class Study:
    """A synthetic data set after ingestion."""

    def __init__(self, root: Path, archive: Path, classes: list[str] = CLASSES) -> None:
        self.root, self.archive, self.classes = root, archive, classes
        self.images = root / "images.csv"
        self.manifests = {
            folder: root / "original" / "/".join(folder) / "manifest.csv"
            for folder in product(("TRAIN", "TEST"), classes)
        }
        dataset = {
            "partitions": {"train": "TRAIN", "test": "TEST"},
            "classes": classes,
            "limit_per_class": None,
            "git": None,
            "range": None,
            "first_page": False,
            "limits": LIMITS,
            "links": None,
        }
        ingest(archive, dataset, self.images, root / "rejected.csv", root / "original", self.manifests)

    def find(self, to: str = "sources.csv", threads: int = 2, **settings: Any) -> pd.DataFrame:
        find_sources(
            self.images,
            list(self.manifests.values()),
            self.archive,
            {**SETTINGS, **settings},
            {
                "photographs": settings.get("photographs", PHOTOGRAPHS),
                "limits": LIMITS,
                "links": None,
                "range": None,
                "first_page": False,
            },
            self.root / to,
            threads,
        )
        return read_csv(self.root / to, SOURCE_COLUMNS)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    root = tmp_path_factory.mktemp("sources")
    make_synthetic_archive(root / "drawn.zip", CLASSES, train_per_class=12, test_per_class=4)
    return Study(root, root / "drawn.zip")


@pytest.fixture(scope="module")
def found(study: Study) -> dict[str, pd.DataFrame]:
    """The sources found by each method, with four threads; they are also written as by_<method>.csv."""
    return {method: study.find(f"by_{method}.csv", threads=4, method=method) for method in ("photographs", "images")}


@pytest.fixture
def pair(tmp_path: Path) -> Study:
    """The smallest study; its images are too small for features."""
    make_synthetic_archive(
        tmp_path / "drawn.zip", CLASSES[:2], image_size=(48, 48), train_per_class=5, test_per_class=1
    )
    return Study(tmp_path, tmp_path / "drawn.zip", CLASSES[:2])


def number(image: str) -> int:
    match = DRAWN.search(image)
    assert match
    return int(match[1])


def photograph(seed: int) -> np.ndarray:
    return draw_photograph((320, 240), CLASSES[seed % 4], np.random.default_rng([9, seed]))


def copy(source: np.ndarray, seed: int = 0) -> np.ndarray:
    return augmented_duplicate(source, np.random.default_rng([7, seed]))


def test_every_source_is_correct_and_nearly_all_are_found(study: Study, found: dict[str, pd.DataFrame]) -> None:
    sources = found["photographs"]
    assert list(sources.columns) == [*SOURCE_COLUMNS, *FRAME_COLUMNS]
    assert list(sources["image"]) == list(read_csv(study.images, ["image"])["image"])
    sure = sources[sources["source"] != ""]
    assert list(sure["source"]) == [f"BloodImage_{number(image):05d}.jpg" for image in sure["image"]]
    assert len(sure) >= 0.97 * len(sources)
    assert (sure["inliers"] >= 2 * sure["runner_up_inliers"]).all()


def test_auto_chooses_photographs_if_their_folder_is_set(pair: Study) -> None:
    arguments = (pair.images, list(pair.manifests.values()), pair.archive, {**SETTINGS, "method": "auto"})
    taken = find_sources(
        *arguments,
        {"photographs": PHOTOGRAPHS, "limits": LIMITS, "links": None, "range": None, "first_page": False},
        pair.root / "sources.csv",
    )
    assert (taken["method"], taken["images"]) == ("photographs", 12)
    taken = find_sources(*arguments, {"photographs": None}, pair.root / "sources.csv")
    assert taken == {"method": "none", "images": 12, "found": 0, "sources": 0}
    assert "," * 3 + "\n" in (pair.root / "sources.csv").read_text()


def test_the_result_does_not_depend_on_the_number_of_threads(study: Study, found: dict[str, pd.DataFrame]) -> None:
    for method in found:
        study.find("one.csv", threads=1, method=method)
        assert (study.root / "one.csv").read_bytes() == (study.root / f"by_{method}.csv").read_bytes()


def test_matching_images_with_one_another_finds_correct_sources(found: dict[str, pd.DataFrame]) -> None:
    sources = found["images"]
    sure = sources[sources["source"] != ""]
    assert list(map(number, sure["source"])) == list(map(number, sure["image"]))
    assert len(sure) >= 0.9 * len(sources)
    assert set(sure["source"]) <= set(sure["image"])


@pytest.mark.parametrize("flip", [None, 0, 1, -1], ids=["unchanged", "upside down", "mirrored", "rotated"])
def test_a_flipped_copy_has_its_source(flip: int | None) -> None:
    index = Index([features(photograph(seed), SIZE) for seed in range(4)])
    small = cv2.resize(photograph(2), SIZE, interpolation=cv2.INTER_AREA)
    image = small if flip is None else cv2.flip(small, flip)
    best = index.fits(features(image, SIZE))[0]
    assert best.target == 2
    assert best.inliers > 40
    assert (np.linalg.det(best.matrix[:, :2]) < 0) == (flip in (0, 1))


def test_the_fit_maps_the_image_onto_its_photograph() -> None:
    source = photograph(1)
    image = copy(source)
    best = Index([features(photograph(seed), SIZE) for seed in range(3)]).fits(features(image, SIZE))[0]
    assert agreement(image, source, best.matrix) > 0.9


def test_points_on_one_line_give_no_fit() -> None:
    """OpenCV may then return NaN."""
    some = features(photograph(0), SIZE)
    flat = some._replace(points=np.column_stack([np.arange(len(some.points)), np.zeros(len(some.points))]).astype("f4"))
    assert Index([flat]).fits(flat) == []


def test_12_bit_photographs_are_rescaled_like_the_images(tmp_path: Path) -> None:
    archive, originals = tmp_path / "archive.zip", tmp_path / "originals"
    twelve = [(photograph(seed) * (4095 / 255)).round().astype(np.uint16) for seed in range(3)]
    small = cv2.resize(twelve[1], SIZE, interpolation=cv2.INTER_AREA)
    with zipfile.ZipFile(archive, "w") as packed:
        for seed, pixels in enumerate(twelve):
            packed.writestr(f"photographs/{seed}.png", imaging.encode_png(pixels))
    content = imaging.encode_png(imaging.stretch(small, (0, 4095)))
    originals.mkdir()
    (originals / "1.png").write_bytes(content)
    (tmp_path / "images.csv").write_text(
        f"image,width,height,sha256\nTRAIN/A/1.png,{SIZE[0]},{SIZE[1]},{hashlib.sha256(content).hexdigest()}\n"
    )
    (originals / "manifest.csv").write_text("image,file\nTRAIN/A/1.png,1.png\n")
    settings = {"method": "photographs", "min_inliers": 10}
    for levels, known in (([0, 4095], 1), (None, 0)):
        dataset = {"photographs": "photographs", "limits": LIMITS, "links": None, "range": levels, "first_page": False}
        arguments = (tmp_path / "images.csv", [originals / "manifest.csv"], archive, settings, dataset)
        assert find_sources(*arguments, tmp_path / "sources.csv")["found"] == known


def test_an_image_of_another_scene_has_no_source() -> None:
    index = Index([features(photograph(seed), SIZE) for seed in range(8)])
    for seed in range(20, 32):
        fits = index.fits(features(copy(photograph(seed)), SIZE))
        assert best_field(fits, range(8), SETTINGS["min_inliers"])[0] is None


@pytest.mark.parametrize("pixels", [np.zeros((120, 160, 3), np.uint8), np.full((2, 2), 9, np.uint16)])
def test_an_image_without_features_has_no_source(pixels: np.ndarray) -> None:
    empty = features(pixels, SIZE)
    assert empty.points.shape == (0, 2)
    assert Index([features(photograph(0), SIZE)]).fits(empty) == []
    assert Index([empty]).fits(features(photograph(0), SIZE)) == []
    assert Index([]).fits(empty) == []


def test_overlapping_photographs_are_one_source() -> None:
    wide = draw_photograph((520, 240), "MONOCYTE", np.random.default_rng(3))
    read = [features(pixels, SIZE) for pixels in (photograph(0), wide[:, :320], photograph(1), wide[:, 200:])]
    index = Index(read)
    found = [index.fits(each, apart_from=n) for n, each in enumerate(read)]
    assert fields(found, OVERLAP) == [0, 1, 2, 1]


def fits(*inliers: int) -> list[Fit]:
    return [Fit(target, count, np.eye(2, 3)) for target, count in enumerate(inliers)]


@pytest.mark.parametrize(
    ("inliers", "field", "expected"),
    [
        ([40, 8], [0, 1], (0, 40, 8)),
        ([40, 20], [0, 1], (0, 40, 20)),
        ([40, 21], [0, 1], (None, 40, 21)),
        ([40, 39], [0, 0], (0, 40, 0)),  # overlapping photographs do not compete
        ([11, 0], [0, 1], (None, 11, 0)),
        ([12], [0], (0, 12, 0)),
        ([], [], (None, 0, 0)),
    ],
)
def test_a_source_needs_enough_inliers_and_a_clear_lead(inliers: list[int], field: list[int], expected: tuple) -> None:
    assert best_field(fits(*inliers), field, 12) == expected


def test_sources_joined_to_a_third_one_are_joined() -> None:
    links = {0: [4], 1: [], 2: [3], 3: [], 4: [2], 5: []}
    found = [[Fit(other, 12, np.eye(2, 3)) for other in others] for others in links.values()]
    assert fields(found, 12) == [0, 1, 0, 0, 0, 5]
    assert fields(found, 13) == [0, 1, 2, 3, 4, 5]


def test_the_pattern_is_searched_in_the_file_name(pair: Study) -> None:
    sources = pair.find(method="pattern", pattern=r"_[0-3]_(\d+)")
    assert list(sources["source"]) == [str(number(image)) for image in sources["image"]]
    assert set(sources["inliers"]) == {""}
    some = pair.find(method="pattern", pattern=r"^_0_(\d+)")["source"]
    assert 0 < (some == "").sum() < len(some)


def test_the_table_may_have_other_images_and_empty_sources(pair: Study) -> None:
    images = list(read_csv(pair.images, ["image"])["image"])
    rows = [("TRAIN/OTHER/1.jpeg", "x"), *((image, "" if n == 1 else "007") for n, image in enumerate(images))]
    pd.DataFrame(reversed(rows), columns=["image", "source"]).to_csv(pair.root / "table.csv", index=False)
    sources = pair.find(method="table", table=str(pair.root / "table.csv"))
    assert list(sources["source"]) == ["007", "", *["007"] * (len(images) - 2)]


def test_identical_files_have_the_same_source(tmp_path: Path) -> None:
    """The first and third images are copies, and so are the second and fourth, for which the table has no source."""
    for class_name in CLASSES[:2]:
        for partition, shades in (("TRAIN", [1, 2, 1, 2, 3]), ("TEST", [4])):
            folder = tmp_path / "cells" / partition / class_name
            folder.mkdir(parents=True)
            for number, shade in enumerate(shades):
                cells = np.full((8, 8, 3), 10 * shade + CLASSES.index(class_name), np.uint8)
                cv2.imwrite(str(folder / f"{number}.png"), cells)
    study = Study(tmp_path, tmp_path / "cells", CLASSES[:2])
    images = list(read_csv(study.images, ["image"])["image"])
    first = [image for image in images if "/TRAIN/" in f"/{image}" and CLASSES[0] in image]
    each = study.find(method="each").set_index("image")["source"]
    assert each[first].tolist() == [first[0], first[1], first[0], first[1], first[4]]
    assert each.nunique() == 8
    source_of = {first[0]: "a", first[2]: "b", first[4]: "b", first[3]: "c"}
    rows = pd.DataFrame({"image": images, "source": [source_of.get(image, "") for image in images]})
    rows.to_csv(tmp_path / "table.csv", index=False)
    table = study.find(method="table", table=str(tmp_path / "table.csv")).set_index("image")["source"]
    assert table[first].tolist() == ["a", "c", "a", "c", "a"]  # b is joined to a because of the copies
    assert (table.drop(first) == "").all()


@pytest.mark.parametrize(
    ("settings", "table", "message"),
    [
        ({"photographs": "JPEGImage"}, "", "has no folder 'JPEGImage' with images in it; correct dataset.photographs"),
        ({"method": "pattern", "pattern": "patient(.)"}, "", "'patient(.)' matches no file name"),
        (
            {"method": "table"},
            "image,source\nTRAIN/X/1.png,a\n",
            "12 of 12 images have no row (first: TRAIN/EOSINOPHIL/_0_0",
        ),
        ({"method": "table"}, "image,source\na,1\na,2\n", "has a twice"),
        (
            {"method": "table"},
            "image,photograph\n",
            "lacks the column source (it has 'image', 'photograph'); correct it",
        ),
        ({"method": "table"}, "", "(it is empty); correct it (sources.table)"),
    ],
)
def test_a_mistake_gives_one_line_and_writes_nothing(
    pair: Study, settings: dict[str, Any], table: str, message: str
) -> None:
    (pair.root / "table.csv").write_text(table)
    with pytest.raises(InputError) as error:
        pair.find(**{"table": str(pair.root / "table.csv"), **settings})
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (pair.root / "sources.csv").exists()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda file: file.write_bytes(b"other"), r"manifest\.csv"),
        (lambda file: file.unlink(), r"cannot be read.*manifest\.csv"),
    ],
)
def test_a_file_that_changed_since_it_was_ingested_is_an_error(pair: Study, harm: Any, message: str) -> None:
    harm(next(pair.root.glob("original/TEST/*/*.jpeg")))
    with pytest.raises(InputError, match=f"{message}.*--force -- "):
        pair.find()


def agreement(image: np.ndarray, source: np.ndarray, matrix: np.ndarray) -> float:
    """The correlation of an image with the part of its photograph onto which the fit maps it."""
    height, width = image.shape[:2]
    small = cv2.resize(source, (width, height), interpolation=cv2.INTER_AREA)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    there = cv2.warpAffine(small, matrix, (width, height), flags=flags)
    known = cv2.warpAffine(np.ones((height, width), np.uint8), matrix, (width, height), flags=flags)
    # JPEG blurs the edges of the black wedges.
    valid = cv2.erode(known & (image.max(axis=2) > 30).astype(np.uint8), np.ones((7, 7))) > 0
    assert valid.mean() > 0.2
    return float(np.corrcoef(image[valid].mean(axis=1), there[valid].mean(axis=1))[0, 1])


@pytest.mark.real
def test_real_images_look_like_their_photographs(real_archive: Path) -> None:
    """This is independent evidence: sources are found from key points and descriptors, not from pixels."""
    size = (320, 240)
    with open_archive(real_archive, LIMITS) as archive:
        names = sorted(name for name in archive.entries if "/JPEGImages/" in name)
        photographs = [imaging.decode(archive.read(name), name) for name in names]
        copies = sorted(name for name in archive.entries if "/images/TRAIN/" in name or "/images/TEST/" in name)
        images = [imaging.decode(archive.read(name), name) for name in random.Random(0).sample(copies, 40)]
    index = Index([features(pixels, size) for pixels in photographs])
    found = 0
    for image in images:
        known = index.fits(features(image, size))
        best, *_ = best_field(known, range(len(names)), SETTINGS["min_inliers"])
        if best is not None:
            found += 1
            assert agreement(image, photographs[best], known[0].matrix) > 0.9
            other = (best + len(names) // 2) % len(names)
            assert agreement(image, photographs[other], known[0].matrix) < 0.9
    assert found >= 36
