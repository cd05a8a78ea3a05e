"""The variants that show whether super-resolution could help are what they say."""

from __future__ import annotations

import re
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from defaults import LIMITS
from test_sources import Study
from wbcsr import imaging
from wbcsr.cells.cut import cut
from wbcsr.dataset.sources import FRAME_COLUMNS
from wbcsr.dataset.synthetic.archive import PHOTOGRAPHS, augmentation, augmented_duplicate, make_synthetic_archive
from wbcsr.dataset.synthetic.photograph import draw_photograph
from wbcsr.errors import InputError
from wbcsr.fidelity.metrics import psnr_of
from wbcsr.files import read_csv, read_json, write_csv
from wbcsr.upscale.ceiling import ceiling, make_ceiling, read_frames
from wbcsr.upscale.interpolation import Interpolation, Reduction, Sharpening
from wbcsr.upscale.shard import upscale_shard
from wbcsr.upscale.sharpening import match_sharpening
from wbcsr.upscale.store import ALL, MANIFEST_COLUMNS, Storing, open_rows

SIZE = (320, 240)
DATASET = {"photographs": PHOTOGRAPHS, "limits": LIMITS, "links": None, "range": None, "first_page": False}
# The right frame gives 46 dB or more, one that is wrong by half a pixel 35.5 at most.
LEAST = 42.0


class Pair:
    """A drawn photograph, its augmented duplicate, and the photograph moved as the duplicate was, before halving."""

    def __init__(self, number: int) -> None:
        self.photograph = draw_photograph(SIZE, "MONOCYTE", np.random.default_rng([3, number]))
        self.image = augmented_duplicate(self.photograph, np.random.default_rng([4, number]))
        self.moved = augmentation(self.photograph, np.random.default_rng([4, number]))
        self.truth = cv2.warpAffine(self.photograph, self.moved, SIZE, flags=cv2.INTER_LINEAR)

        self.frame = frame_of(self.moved)


def frame_of(moved: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """From a duplicate's pixels, each the mean of four, to the photograph's."""
    return cv2.invertAffineTransform(moved) @ [[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]]


@pytest.mark.parametrize("number", range(4))
def test_the_ceiling_is_the_photograph_as_the_image_shows_it(number: int) -> None:
    pair = Pair(number)
    assert psnr_of(ceiling(pair.photograph, pair.image, pair.frame), pair.truth) >= LEAST
    shifted = [pair.frame + np.array([[0, 0, x], [0, 0, y]]) for x, y in ((0.5, 0), (0, -0.5), (0.5, 0.5))]
    for wrong in (*shifted, cv2.invertAffineTransform(pair.frame)):
        assert psnr_of(ceiling(pair.photograph, pair.image, wrong), pair.truth) < LEAST


def test_the_ceiling_is_as_bright_as_the_image() -> None:
    pair = Pair(0)
    brighter = np.rint(pair.image * 1.1).clip(0, 255).astype(np.uint8)
    made = ceiling(pair.photograph, brighter, pair.frame)
    assert psnr_of(made, np.rint(pair.truth * 1.1).clip(0, 255).astype(np.uint8)) >= LEAST


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    root = tmp_path_factory.mktemp("ceiling")
    classes = ["EOSINOPHIL", "LYMPHOCYTE"]
    make_synthetic_archive(root / "drawn.zip", classes, image_size=(160, 120), train_per_class=8, test_per_class=2)
    drawn = Study(root, root / "drawn.zip", classes)
    drawn.find()
    return drawn


def made(
    study: Study, folder: Path, originals: Path, sources: Path, cells: Path | None = None, storing: Storing = ALL
) -> pd.DataFrame:
    """The ceiling's manifest of the training images of EOSINOPHIL, in `folder`."""
    folder.mkdir(parents=True)
    whole = study.manifests["TRAIN", "EOSINOPHIL"]
    make_ceiling(originals, whole, sources, cells, study.archive, DATASET, folder / "manifest.csv", 1, 1, 2, storing)
    return read_csv(folder / "manifest.csv", MANIFEST_COLUMNS)


def test_frames_are_found_to_less_than_half_a_pixel_of_the_photograph(study: Study) -> None:
    """At the centre of the image, where SIFT's bias and a wrong convention of pixels show."""
    sources = read_csv(study.root / "sources.csv", ["image", *FRAME_COLUMNS]).set_index("image")
    of_class = sources[sources.index.str.startswith("TRAIN/EOSINOPHIL/")]
    assert len(of_class) == 8
    for image, row in of_class.iterrows():
        # `_<duplicate>_<photograph>.jpeg`; photographs are numbered through all classes, and these are the first.
        duplicate, number = map(int, re.findall(r"\d+", image.rpartition("/")[2])[:2])
        assert row["photograph"] == f"BloodImage_{number:05d}.jpg"
        key = [0, zlib.crc32(b"TRAIN"), zlib.crc32(b"EOSINOPHIL"), number, duplicate]
        moved = augmentation(np.zeros((240, 320, 3), np.uint8), np.random.default_rng(key))
        found = row[FRAME_COLUMNS[1:]].to_numpy(float).reshape(2, 3)
        assert np.hypot(*(found - frame_of(moved)) @ [79.5, 59.5, 1]) < 0.45, image


def test_every_image_has_its_ceiling_in_the_order_of_the_manifest(study: Study, tmp_path: Path) -> None:
    originals = study.manifests["TRAIN", "EOSINOPHIL"]
    table = made(study, tmp_path / "ceiling", originals, study.root / "sources.csv")
    files = read_csv(originals, MANIFEST_COLUMNS).set_index("image")["file"]
    assert table["image"].tolist() == files.index.tolist()
    for row in table.itertuples():
        pixels = imaging.read_listed(tmp_path / "ceiling" / row.file, row.sha256, tmp_path / "manifest.csv")
        assert pixels.shape == (240, 320, 3) == (row.height, row.width, 3)
        image = imaging.read_image(originals.with_name(files[row.image]))
        assert psnr_of(cv2.resize(pixels, (160, 120), interpolation=cv2.INTER_AREA), image) > 25


def test_rows_of_the_ceiling_are_those_of_its_files(study: Study, tmp_path: Path) -> None:
    originals, sources = study.manifests["TRAIN", "EOSINOPHIL"], study.root / "sources.csv"
    table = made(study, tmp_path / "files", originals, sources)
    made(study, tmp_path / "rows", originals, sources, storing=Storing(0, [32]))
    assert list((tmp_path / "rows").glob("*.png")) == []
    expected = [imaging.to_square(imaging.read_image(tmp_path / "files" / file), 32) for file in table["file"]]
    np.testing.assert_array_equal(open_rows(tmp_path / "rows" / "manifest.csv")["32px"], expected)


def test_a_cut_of_the_ceiling_shows_what_the_cut_of_the_image_shows(study: Study, tmp_path: Path) -> None:
    """For even and odd sides and beyond the border, where both are reflected."""
    whole, sources = study.manifests["TRAIN", "EOSINOPHIL"], study.root / "sources.csv"
    table = read_csv(whole, MANIFEST_COLUMNS)
    of_whole = made(study, tmp_path / "whole", whole, sources)
    for side, centre in ((48, (80, 60)), (49, (80, 60)), (64, (10, 115)), (65, (155, 3))):
        folder = tmp_path / str(side)
        cells = pd.DataFrame({"image": table["image"], "x": centre[0], "y": centre[1], "side": side})
        write_csv(tmp_path / "cells.csv", cells)
        for row in made(study, folder, whole, sources, tmp_path / "cells.csv").itertuples():
            pixels = imaging.read_image(folder / row.file)
            assert pixels.shape == (2 * side, 2 * side, 3)
            uncut = imaging.read_image(tmp_path / "whole" / of_whole.set_index("image").loc[row.image, "file"])
            halved, expected = (
                cv2.resize(each, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for each in (pixels, uncut)
            )
            assert np.array_equal(halved, cut(expected, centre, side))


def test_the_ceiling_is_of_the_photograph_that_the_frame_belongs_to(study: Study, tmp_path: Path) -> None:
    """Photographs that overlap are one source, which is named by the first of them."""
    sources = read_csv(study.root / "sources.csv", ["image", "source", *FRAME_COLUMNS])
    write_csv(tmp_path / "sources.csv", sources.assign(source=sources["source"].iloc[0]))
    originals = study.manifests["TRAIN", "EOSINOPHIL"]
    tables = [
        made(study, tmp_path / name, originals, folder / "sources.csv")
        for name, folder in (("own", study.root), ("joined", tmp_path))
    ]
    assert tables[0].equals(tables[1])


def test_an_image_without_a_photograph_is_one_line(study: Study, tmp_path: Path) -> None:
    sources = read_csv(study.root / "sources.csv", ["image", *FRAME_COLUMNS])
    sources[FRAME_COLUMNS] = sources[FRAME_COLUMNS].astype(object)
    sources.loc[[1, 4], FRAME_COLUMNS] = ""
    write_csv(tmp_path / "sources.csv", sources)
    with pytest.raises(InputError, match=f"2 of 20 images.*{re.escape(sources['image'][1])}"):
        read_frames(tmp_path / "sources.csv")


def test_photographs_that_are_no_larger_than_their_images_are_refused(study: Study, tmp_path: Path) -> None:
    with zipfile.ZipFile(study.archive) as archive, zipfile.ZipFile(tmp_path / "small.zip", "w") as smaller:
        for name in archive.namelist():
            content = archive.read(name)
            if PHOTOGRAPHS in name:
                content = imaging.encode_png(imaging.decode(content, name)[::2, ::2])
            smaller.writestr(name, content)
    whole = study.manifests["TRAIN", "EOSINOPHIL"]
    arguments = (whole, whole, study.root / "sources.csv", None, tmp_path / "small.zip", DATASET)
    with pytest.raises(InputError, match="take ceiling out"):
        make_ceiling(*arguments, tmp_path / "manifest.csv", 1, 1, 2)


@pytest.mark.parametrize(("sigma", "amount"), [(1.5, 0.8), (3.0, 2.0), (4.0, 0.4)])
def test_the_mask_of_sharpened_images_is_found_again(study: Study, tmp_path: Path, sigma: float, amount: float) -> None:
    """By which images were sharpened that stand for Real-ESRGAN's."""
    originals = [study.manifests["TRAIN", name] for name in study.classes]
    upscaled = [tmp_path / name / "manifest.csv" for name in study.classes]
    for source, to in zip(originals, upscaled, strict=True):
        to.parent.mkdir()
        upscale_shard(source, to, 1, 1, Sharpening(2, sigma, amount), 1)
    output = tmp_path / "sharpening.json"
    match_sharpening(originals, upscaled, 2, output, images=6)
    found = read_json(output)
    # 8-bit values are clipped and rounded, which the model of the mask leaves out.
    assert found["sigma"] == pytest.approx(sigma, rel=0.1)
    assert found["amount"] == pytest.approx(amount, rel=0.1)
    assert found["residual_db"] < 0.5
    assert len(found["used"]) == found["images"] == 6
    assert {image.split("/")[1] for image in found["used"]} == set(study.classes)


@pytest.mark.parametrize("channels", [(), (3,), (4,)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_sharpening_by_nothing_is_bicubic_and_alpha_stays(channels: tuple[int, ...], dtype: type) -> None:
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (9, 7, *channels)).astype(dtype)
    (bicubic,) = Interpolation("bicubic", 3)([image])
    (same,) = Sharpening(3, 2.0, 0.0)([image])
    (sharp,) = Sharpening(3, 2.0, 1.0)([image])
    assert np.array_equal(same, bicubic)
    assert sharp.dtype == dtype
    assert sharp[..., :3].astype(float).std() > bicubic[..., :3].astype(float).std()
    if channels == (4,):
        assert np.array_equal(sharp[..., 3], bicubic[..., 3])


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_reducing_averages_detail_away(factor: int) -> None:
    """Stripes of one pixel, which aliasing would turn into others."""
    stripes = np.zeros((48, 96, 3), np.uint8)
    stripes[:, ::2] = 255
    (reduced,) = Reduction(factor)([stripes])
    assert reduced.shape == (48 // factor, 96 // factor, 3)
    assert np.abs(reduced[1:-1, 1:-1] - 127.5).max() < 40
    (tiny,) = Reduction(8)([stripes[:3, :2]])
    assert tiny.shape == (1, 1, 3)
