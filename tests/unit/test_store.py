"""What is stored of upscaled images: rows equal those packed from PNG files; a changed `store` makes only the rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from originals import originals
from wbcsr.classify.pack import pack
from wbcsr.config import SAMPLE, stored_images
from wbcsr.errors import InputError
from wbcsr.files import read_csv, sha256, write_json
from wbcsr.present.cells import CANDIDATES, read_manifests
from wbcsr.upscale.interpolation import Interpolation
from wbcsr.upscale.shard import upscale_shard
from wbcsr.upscale.sharpening import IMAGES
from wbcsr.upscale.store import ALL, MANIFEST_COLUMNS, Storing, open_rows, rows_path

SIZES = (24, 40)
SAMPLED, NONE = Storing(4, SIZES), Storing(0, SIZES)
COUNT = 7


class Counting(Interpolation):
    """An enlarger that counts its images."""

    def __call__(self, images: list[np.ndarray]) -> list[np.ndarray]:
        self.__dict__["count"] = self.__dict__.get("count", 0) + len(images)
        return super().__call__(images)


def make(source: Path, folder: Path, storing: Storing, shards: int = 1) -> tuple[list[Path], int]:
    """The manifests of a class's shards, each with its provenance as a job writes it, and how many images were made."""
    manifests, enlarger = [], Counting("bicubic", 4)
    for shard in range(1, shards + 1):
        manifests.append(folder / f"manifest_{shard}of{shards}.csv")
        made = upscale_shard(source, manifests[-1], shard, shards, enlarger, 2, storing)
        noted = {"outputs_sha256": {manifests[-1].name: sha256(manifests[-1])}, **made}
        write_json(manifests[-1].with_suffix(".provenance.json"), noted)
    return manifests, enlarger.__dict__.get("count", 0)


def packed(manifests: list[Path], source: Path, folder: Path, side: int) -> tuple[bytes, bytes]:
    """The packed array and its index."""
    listed = read_csv(source, ["image", "input_sha256"])
    images = pd.DataFrame({"image": listed["image"], "sha256": listed["input_sha256"]}).iloc[::-1]
    images.assign(partition="TRAIN", **{"class": "A"}).to_csv(folder / "images.csv", index=False)
    array, index = folder / "packed.npy", folder / "packed.csv"
    pack(manifests, folder / "images.csv", side, array, index, 2)
    return array.read_bytes(), index.read_bytes()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return originals(tmp_path / "original", COUNT)


@pytest.mark.parametrize("storing", [SAMPLED, NONE], ids=["sample", "none"])
@pytest.mark.parametrize("side", SIZES)
def test_rows_are_the_bytes_that_packing_the_files_gives(
    source: Path, tmp_path: Path, storing: Storing, side: int
) -> None:
    """This holds for grey, RGB and RGBA images of two shapes, and with any number of shards."""
    (files, _), (rows, _) = make(source, tmp_path / "all", ALL), make(source, tmp_path / "x", storing, 3)
    assert packed(rows, source, tmp_path, side) == packed(files, source, tmp_path, side)


def test_the_sample_is_the_first_images_of_the_class_and_every_image_has_a_hash(source: Path, tmp_path: Path) -> None:
    (files, _), (manifests, _) = make(source, tmp_path / "all", ALL), make(source, tmp_path / "x", SAMPLED, 3)
    table = pd.concat([read_csv(path, [*MANIFEST_COLUMNS, "packed_sha256"]) for path in manifests], ignore_index=True)
    whole = read_csv(files[0], MANIFEST_COLUMNS)
    for column in ("file", "sha256"):
        assert list(table[column]) == [*whole[column][:4], "", "", ""]
    same = ["image", "width", "height", "input_sha256"]
    pd.testing.assert_frame_equal(table[same], whole[same])
    assert table["packed_sha256"].str.fullmatch("[0-9a-f]{64}").all()
    assert {path.name for path in (tmp_path / "x").glob("*.png")} == set(whole["file"][:4])


@pytest.mark.parametrize(
    ("before", "after", "again"),
    [
        (ALL, SAMPLED, 0),
        (ALL, NONE, 0),
        (SAMPLED, NONE, 0),
        (SAMPLED, ALL, COUNT - 4),
        (NONE, SAMPLED, 4),
        (NONE, ALL, COUNT),
        (SAMPLED, Storing(4, (24,)), COUNT - 4),
        (SAMPLED, SAMPLED, 0),
    ],
    ids=lambda case: f"{case.pngs} files {len(case.sizes)} sizes" if isinstance(case, Storing) else str(case),
)
def test_a_change_of_what_is_stored_upscales_only_what_is_missing(
    source: Path, tmp_path: Path, before: Storing, after: Storing, again: int
) -> None:
    """The folder is then as if it had been made so at once: files that are not stored any more are removed."""
    make(source, tmp_path / "x", before)
    (manifest,), made = make(source, tmp_path / "x", after)
    make(source, tmp_path / "fresh", after)
    assert made == again
    names = {path.name for path in (tmp_path / "fresh").iterdir()}
    assert {path.name for path in manifest.parent.iterdir()} == names
    for name in names - {"manifest_1of1.provenance.json"}:
        assert (tmp_path / "fresh" / name).read_bytes() == manifest.with_name(name).read_bytes(), name


def spoil(manifest: Path) -> None:
    content = bytearray(rows_path(manifest).read_bytes())
    content[-1] ^= 1
    rows_path(manifest).write_bytes(content)


DAMAGES: dict[str, tuple[Callable[[Path], Any], int]] = {
    "a byte": (spoil, 1),
    "cut": (lambda manifest: rows_path(manifest).write_bytes(rows_path(manifest).read_bytes()[:-9]), 1),
    "deleted": (lambda manifest: rows_path(manifest).unlink(), COUNT),
    "other array": (lambda manifest: np.save(rows_path(manifest), np.zeros((COUNT, 3), np.uint8)), COUNT),
}


@pytest.mark.parametrize(("damage", "again"), DAMAGES.values(), ids=DAMAGES)
def test_damaged_rows_are_found_and_made_again(
    source: Path, tmp_path: Path, damage: Callable[[Path], Any], again: int
) -> None:
    (manifest,), _ = make(source, tmp_path / "x", NONE)
    whole = rows_path(manifest).read_bytes()
    damage(manifest)
    with pytest.raises(InputError, match=r"manifest_1of1\.npy: .*; run once with --force -- .*manifest_1of1\.csv"):
        packed([manifest], source, tmp_path, SIZES[0])
    assert not (tmp_path / "packed.npy").exists()
    _, made = make(source, tmp_path / "x", NONE)
    assert made == again
    assert rows_path(manifest).read_bytes() == whole


def test_rows_of_another_size_are_one_line(source: Path, tmp_path: Path) -> None:
    (manifest,), _ = make(source, tmp_path / "x", NONE)
    with pytest.raises(InputError, match=r"manifest_1of1\.npy: has no rows of 33 pixels"):
        packed([manifest], source, tmp_path, 33)


def test_numpy_reads_the_rows_without_this_library(source: Path, tmp_path: Path) -> None:
    (manifest,), _ = make(source, tmp_path / "x", NONE)
    rows = np.load(rows_path(manifest))
    assert (len(rows), rows["24px"].shape, rows["40px"].dtype) == (COUNT, (COUNT, 24, 24, 3), np.uint8)
    np.testing.assert_array_equal(rows, open_rows(manifest))


def test_the_sample_is_enough_for_figures_and_for_matching_the_sharpness(source: Path, tmp_path: Path) -> None:
    assert max(CANDIDATES, IMAGES) <= SAMPLE
    manifests, _ = make(source, tmp_path / "realesrgan_x4" / "TRAIN" / "A", SAMPLED, 2)
    assert list(read_manifests(manifests).dropna()["image"]) == sorted(read_csv(source, ["image"])["image"])[:4]


CONFIG: dict[str, Any] = {
    "store": "sample",
    "variants": ["original", "bicubic_x4", "realesrgan_x4"],
    "dual": True,
    "cross_evaluate": True,
    "train": {"input_size": 224, "extra_input_sizes": [448]},
    "dataset": {"partitions": {"train": "A", "test": "B", "extra_tests": {}}},
}


@pytest.mark.parametrize(
    ("store", "variant", "partition", "expected"),
    [
        ("all", "realesrgan_x4", "A", ALL),
        ("sample", "realesrgan_x4", "A", Storing(SAMPLE, [224, 448])),
        ("sample", "bicubic_x4", "A", Storing(SAMPLE, [224])),  # further sizes are for the compared variant only
        ("sample", "bicubic_x4", "B", Storing(0, [224])),
        ("none", "realesrgan_x4", "A", Storing(0, [224, 448])),
    ],
)
def test_rows_have_the_sizes_at_which_classifiers_read_the_variant(
    store: str, variant: str, partition: str, expected: Storing
) -> None:
    found = Storing(**stored_images(variant, partition, {**CONFIG, "store": store}))
    assert (found.pngs, list(found.sizes)) == (expected.pngs, list(expected.sizes))
