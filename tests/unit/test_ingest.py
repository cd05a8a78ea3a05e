"""Ingesting a data set: the images that are found, kept, rejected and copied, and the files that are written."""

from __future__ import annotations

import hashlib
import io
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bad_images import animated, tiff
from defaults import LABELS, LIMITS
from wbcsr.dataset import ingest as module
from wbcsr.dataset.ingest import IMAGE_COLUMNS, MANIFEST_COLUMNS, ingest
from wbcsr.errors import InputError
from wbcsr.files import read_csv, sha256
from wbcsr.imaging import decode, encode, encode_png

CLASSES = ["B", "A"]  # not in alphabetical order, as in a user's configuration
FOLDERS = [(partition, name) for partition in ("TRAIN", "TEST") for name in CLASSES]


def png(seed: int) -> bytes:
    return encode_png(np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8))


def images(per_folder: int = 3) -> dict[str, bytes]:
    """Distinct images 0.png, 1.png, … in every folder."""
    names = [f"{partition}/{name}/{n}.png" for partition, name in FOLDERS for n in range(per_folder)]
    return {image: png(seed) for seed, image in enumerate(names)}


class Study:
    """A results folder, and an archive that is ingested into it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.originals = root / "results" / "original"

    def ingest(
        self,
        files: dict[str, bytes],
        prefix: str = "",
        as_zip: bool = True,
        listed: list[str] | None = None,
        labels: list[str] | None = None,
        **dataset: Any,
    ) -> dict[str, int]:
        archive = self.root / "archive"
        if as_zip:
            with zipfile.ZipFile(archive, "w") as packed:
                for name, content in files.items():
                    packed.writestr(prefix + name, content)
        else:
            for name, content in files.items():
                (archive / (prefix + name)).parent.mkdir(parents=True, exist_ok=True)
                (archive / (prefix + name)).write_bytes(content)
        list_csv = self.root / "listed.csv"
        list_csv.write_text("\n".join(["image", *(listed or [])]))
        labels_csv = self.root / "labels.csv"
        labels_csv.write_text("\n".join(["file,partition,label", *(labels or [])]))
        settings = {
            "partitions": {"train": "TRAIN", "test": "TEST"},
            "classes": CLASSES,
            "limit_per_class": None,
            "range": None,
            "first_page": False,
            "limits": LIMITS,
            "links": None,
            "git": None,
            "labels": LABELS,
        }
        return ingest(
            archive,
            {**settings, **dataset},
            self.root / "results" / "images.csv",
            self.root / "results" / "rejected.csv",
            self.originals,
            {folder: self.manifest(*folder) for folder in FOLDERS},
            listed=None if listed is None else list_csv,
            labels=None if labels is None else labels_csv,
        )

    def manifest(self, partition: str, name: str) -> Path:
        return self.originals / partition / name / "manifest.csv"

    @property
    def images(self) -> pd.DataFrame:
        return read_csv(self.root / "results" / "images.csv", IMAGE_COLUMNS)

    @property
    def rejected(self) -> dict[str, str]:
        table = read_csv(self.root / "results" / "rejected.csv", ["image", "reason"])
        return dict(zip(table["image"], table["reason"], strict=True))

    def copied(self) -> dict[str, bytes]:
        files = (file for file in self.originals.rglob("*") if file.is_file() and file.name != "manifest.csv")
        return {file.relative_to(self.originals).as_posix(): file.read_bytes() for file in files}


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "folder"])
@pytest.mark.parametrize("prefix", ["", "images/", "set2-master/set2-master/images/", "TRAIN/", "A/TEST/", "TRAIN/A/"])
def test_images_are_found_at_any_depth(study: Study, prefix: str, as_zip: bool) -> None:
    files = images()
    summary = study.ingest(files, prefix, as_zip)
    assert study.copied() == files
    assert summary == {"kept": 12, "rejected": 0, "left_out": 0, "copies": 0, "ignored": 0, "elsewhere": {}}


def test_tables_describe_the_images_in_the_configured_order(study: Study) -> None:
    files = images()
    study.ingest(dict(reversed(files.items())))
    table = study.images
    assert list(table.columns) == IMAGE_COLUMNS
    assert list(table["image"]) == list(files)
    assert list(zip(table["partition"], table["class"], strict=True)) == [f for f in FOLDERS for _ in range(3)]
    assert set(zip(table["width"], table["height"], strict=True)) == {(8, 6)}
    assert list(table["sha256"]) == [hashlib.sha256(content).hexdigest() for content in files.values()]
    assert (study.root / "results" / "rejected.csv").read_text() == "image,reason\n"


def test_manifests_list_the_files_next_to_them(study: Study) -> None:
    study.ingest(images())
    for partition, name in FOLDERS:
        manifest = study.manifest(partition, name)
        table = read_csv(manifest, MANIFEST_COLUMNS)
        assert list(table.columns) == MANIFEST_COLUMNS
        assert list(table["image"]) == [f"{partition}/{name}/{n}.png" for n in range(3)]
        for row in table.itertuples():
            assert sha256(manifest.parent / row.file) == row.sha256 == row.input_sha256


def test_folders_that_are_not_configured_are_ignored(study: Study) -> None:
    others = {
        "TEST_SIMPLE/A/1.png": png(90),
        "TRAIN/C/1.png": png(91),
        "TRAIN/1.png": png(92),
        "A/1.png": b"",
        "x": b"",
        "A/1/TRAIN": b"",
    }
    summary = study.ingest(images() | others)
    assert study.copied() == images()
    assert (summary["ignored"], [*study.rejected]) == (5, ["TRAIN/C/1.png"])


@pytest.mark.parametrize("partitions", [{"train": "TRAIN", "test": "TEST"}, None])
@pytest.mark.parametrize("prefix", ["", "set/"])
def test_images_in_a_folder_of_no_class_are_listed(
    study: Study, prefix: str, partitions: dict[str, str] | None, caplog: pytest.LogCaptureFixture
) -> None:
    """With a mapping of classes and without; photographs, hidden files and files that are no images are not listed."""
    root = "TRAIN/" if partitions else ""
    files = images() if partitions else {f"{name}/{n}.png": png(n) for n, name in enumerate("AABB")}
    unclassed = [f"{root}C/1.png", f"{root}C/more/2.TIF", f"{root}D e/1.png"]
    others = [f"{root}C/notes.txt", f"{root}C/._1.png", f"{root}photos/1.png", "readme/1.txt", f"{root}1.png"]
    for members in (None, {name: [name] for name in CLASSES}):
        with caplog.at_level("INFO"):
            summary = study.ingest(
                files | dict.fromkeys([*unclassed, *others], b"x"), prefix, partitions=partitions, members=members,
                photographs=f"{prefix}{root}photos",
            )  # fmt: skip
        assert summary["kept"] == len(files)
        reasons = {
            f"{prefix}{name}": f"lies in the folder {folder!r}, which dataset.classes lacks"
            for name, folder in zip(unclassed, ["C", "C", "D e"], strict=True)
        }
        assert study.rejected == reasons
        assert (summary["rejected"], summary["ignored"]) == (3, 5)
        assert "3 images in folders that dataset.classes lacks ('C' (2), 'D e' (1))" in caplog.text


MERGED = {"B": ["x", "y?"], "A": ["a cell"]}
MERGED_FILES = {
    f"{partition}/{name}/0.png": png(seed)
    for seed, (partition, name) in enumerate(
        (part, name) for part in ("TRAIN", "TEST") for name in ("x", "y1", "a cell")
    )
}


def test_several_folders_become_one_class(study: Study) -> None:
    """The folder's name keeps files of the same name apart; a class of one folder keeps its files' names."""
    summary = study.ingest(MERGED_FILES | {"TRAIN/z/0.png": png(90)}, members=MERGED)
    renamed = {"x/": "B/x_", "y1/": "B/y1_", "a cell/": "A/"}
    expected = {
        name.replace(old, new): content
        for name, content in MERGED_FILES.items()
        for old, new in renamed.items()
        if old in name
    }
    assert study.copied() == expected
    assert set(study.images["class"]) == {"A", "B"}
    assert (summary["elsewhere"], [*study.rejected]) == ({}, ["TRAIN/z/0.png"])


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (MERGED | {"A": ["a cel"]}, r"has no folder 'a cel' with files in 'TRAIN' .*the nearest is 'a cell'"),
        (MERGED | {"A": ["a cell", "q"]}, r"has no folder 'q' with files \(dataset\.classes\)"),
        (MERGED | {"A": ["a cell", "*1"]}, r"dataset\.classes: 'y1' matches 'y\?' of 'B' and '\*1' of 'A'"),
        (MERGED | {"A": ["[a] c*"]}, r"has no folder '\[a\] c\*' with files in 'TRAIN'"),
        (MERGED | {"A": ["q", "r*"]}, r"has no folder 'q' or 'r\*' with files in 'TRAIN'"),
    ],
)
def test_folders_of_a_class_that_do_not_fit_are_an_error(
    study: Study, members: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        study.ingest(MERGED_FILES, members=members)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("9.png", b"", "not a readable image"),
        ("9.png", b"<html>", "not a readable image"),
        ("9.png", png(90)[:-60], "not a readable image"),
        ("9.txt", png(90), "not an image"),
        ("9.heic", b"", "is a HEIC image, which is not read; convert it to PNG"),
        ("9", png(90), "not an image"),
        ("Thumbs.db", b"junk", "not an image"),
        (".DS_Store", b"junk", "not an image"),
        ("._0.png", b"junk", "not an image"),
        ("more/9.png", png(90), "lies in a folder below its class's folder"),
        ("9\n.png", png(90), "has a control character"),
        ("9" * 200 + ".png", png(90), "has a name of more than 200 bytes"),
    ],
)
def test_bad_files_are_rejected_with_a_reason(study: Study, name: str, content: bytes, reason: str) -> None:
    summary = study.ingest(images() | {f"TRAIN/A/{name}": content}, prefix="data/")
    ((image, why),) = study.rejected.items()
    assert image == f"TRAIN/A/{name}".replace("\n", "\\n")
    assert why.startswith(reason)
    assert study.copied() == images()
    assert (summary["kept"], summary["rejected"], summary["left_out"]) == (12, 1, 0)


def test_rejected_files_of_the_same_name_are_no_conflict(study: Study) -> None:
    study.ingest(images() | {"__MACOSX/TRAIN/A/._0.png": b"junk", "TRAIN/A/._0.png": b"junk"})
    assert study.rejected == {"TRAIN/A/._0.png": "not an image"}


@pytest.mark.parametrize("name", ["9.PNG", "9" * 196 + ".png"], ids=["upper case", "200 bytes"])
def test_unusual_image_names_are_accepted(study: Study, name: str) -> None:
    study.ingest(images() | {f"TRAIN/A/{name}": png(90)})
    assert f"TRAIN/A/{name}" in study.copied()


@pytest.mark.parametrize("other", ["TRAIN/B/9.png", "TEST/B/9.png"])
def test_the_same_file_in_two_classes_is_rejected_everywhere(study: Study, other: str) -> None:
    files = images()
    copies = {"TRAIN/A/8.png": png(90), "TRAIN/A/9.png": png(90), other: png(90)}
    study.ingest(files | copies)
    assert study.copied() == files
    assert study.rejected == {
        "TRAIN/A/8.png": f"has the same bytes as {other}, which is of another class",
        "TRAIN/A/9.png": f"has the same bytes as {other}, which is of another class",
        other: "has the same bytes as TRAIN/A/8.png, which is of another class",
    }


def test_ignored_files_are_counted_by_their_outermost_folder_without_images(
    study: Study, caplog: pytest.LogCaptureFixture
) -> None:
    masks = {f"masks/{fold}/{number}.png": b"" for fold in "01" for number in range(6)}
    others = {"README.md": b"", "TRAIN/notes.txt": b"", "TRAIN/C/1.txt": b"", "a\nb/1.txt": b""}
    with caplog.at_level("INFO"):
        summary = study.ingest(images() | masks | others, prefix="set/")
    places = {"set/masks/": 12, "set/README.md": 1, "set/TRAIN/notes.txt": 1, "set/TRAIN/C/": 1, "set/a\\nb/": 1}
    assert (summary["ignored"], summary["elsewhere"]) == (16, places)
    assert "ignored: set/masks/ (12), set/README.md, " in caplog.text
    many = {f"{number}.txt": b"" for number in range(12)}
    with caplog.at_level("INFO"):
        assert len(study.ingest(images() | many)["elsewhere"]) == 10
    assert "9.txt and 2 more places" in caplog.text


def test_three_partitions_are_ordered_by_their_use(study: Study) -> None:
    files = images() | {f"VAL/{name}/0.png": png(seed) for seed, name in enumerate(CLASSES, start=50)}
    summary = study.ingest(files, partitions={"train": "TRAIN", "test": "TEST", "validation": "VAL"})
    assert summary["kept"] == 14
    assert study.copied() == files
    assert list(study.images["partition"].unique()) == ["TRAIN", "VAL", "TEST"]


def test_an_extra_test_may_lack_classes_and_no_more(study: Study, caplog: pytest.LogCaptureFixture) -> None:
    partitions = {"train": "TRAIN", "test": "TEST", "extra_tests": {"other": "NEW"}}
    study.ingest({**images(), "NEW/A/1.png": png(100)}, partitions=partitions)
    assert set(study.images["partition"]) == {"TRAIN", "TEST", "NEW"}
    assert "extra test NEW: has no image of B" in caplog.text
    with pytest.raises(InputError, match=r"has no folder 'NEW' with files \(dataset\.partitions\)"):
        study.ingest(images(), partitions=partitions)


def test_identical_files_within_a_class_are_kept_and_counted(study: Study, caplog: pytest.LogCaptureFixture) -> None:
    copies = {"TRAIN/A/7.png": png(90), "TRAIN/A/8.png": png(90), "TEST/A/9.png": png(91), "TRAIN/A/9.png": png(91)}
    summary = study.ingest(images() | copies)
    assert study.copied() == images() | copies
    assert summary["copies"] == 2
    assert "2 images with the same bytes as another one of the class, 1 image in more than one partition" in caplog.text


def test_limit_takes_the_first_names_in_text_order(study: Study, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    summary = study.ingest(images(12), limit_per_class=3)
    for partition, name in FOLDERS:
        kept = study.images.query("partition == @partition and `class` == @name")["image"]
        assert list(kept) == [f"{partition}/{name}/{n}.png" for n in (0, 1, 10)]
    assert (summary["kept"], summary["rejected"], summary["left_out"]) == (12, 0, 36)
    assert "12 images kept, 0 files rejected, 36 left out" in caplog.text


def test_limit_replaces_rejected_images_and_reads_no_others(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    files = images(9)
    files["TRAIN/A/0.png"] = b"broken"
    files["TRAIN/A/2.png"] = files["TRAIN/B/1.png"]  # read as replacement for 0.png
    files["TEST/B/2.png"] = files["TRAIN/A/2.png"]  # beyond the limit
    files["TRAIN/B/2.png"] = b"broken"
    decoded: list[str] = []
    decode = module.imaging.decode
    monkeypatch.setattr(
        module.imaging, "decode", lambda content, name, **more: (decoded.append(name), decode(content, name, **more))[1]
    )
    study.ingest(files, limit_per_class=2)
    assert set(study.rejected) == {"TRAIN/A/0.png", "TRAIN/A/2.png", "TRAIN/B/1.png", "TRAIN/B/2.png"}
    expected = {"TRAIN/A": "13", "TRAIN/B": "03", "TEST/A": "01", "TEST/B": "01"}
    assert set(study.copied()) == {f"{folder}/{n}.png" for folder, numbers in expected.items() for n in numbers}
    assert len(decoded) == len(set(decoded)) == 8 + 4


def test_a_limit_above_the_number_of_images_takes_all(study: Study) -> None:
    assert study.ingest(images(), limit_per_class=100)["kept"] == 12


def test_only_listed_images_are_used(study: Study) -> None:
    """A folder without a listed image gets an empty manifest."""
    files = images(4) | {"TRAIN/A/9.png": b"broken", "TEST/B/9.png": b"broken"}
    files |= {"TRAIN/A/9.txt": b"junk", "TEST/B/9.txt": b"junk"}
    listed = ["TEST/B/1.png", "TRAIN/A/3.png", "TRAIN/A/9.png", "TRAIN/A/2.png", "TRAIN/A/0.png", "TRAIN/A/9.txt"]
    summary = study.ingest(files, listed=listed)
    assert set(study.copied()) == set(listed) - {"TRAIN/A/9.png", "TRAIN/A/9.txt"}
    assert list(study.rejected) == ["TRAIN/A/9.png", "TRAIN/A/9.txt"]
    assert (summary["kept"], summary["rejected"], summary["left_out"]) == (4, 2, 13)
    assert read_csv(study.manifest("TRAIN", "B"), MANIFEST_COLUMNS).empty
    study.ingest(files, listed=listed, limit_per_class=2)
    assert set(study.copied()) == {"TEST/B/1.png", "TRAIN/A/0.png", "TRAIN/A/2.png"}


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        ([], "lists no image of class 'A'; correct it (dataset.images)"),
        (["TRAIN/A/0.png"], "lists no image of class 'B'"),
        (["TRAIN/A/0.png", "TEST/B/0.png", "TRAIN/A/0.png"], "lists TRAIN/A/0.png twice"),
        (["TRAIN/A/0.png", "TRAIN/B/7.png", "A/0.png"], "lists 2 of 3 images (first: TRAIN/B/7.png) that "),
    ],
)
def test_a_list_that_does_not_fit_the_archive_is_an_error(study: Study, listed: list[str], words: str) -> None:
    with pytest.raises(InputError) as caught:
        study.ingest(images(), listed=listed)
    assert words in str(caught.value)
    assert "listed.csv: " in str(caught.value)
    assert "(dataset.images)" in str(caught.value)
    assert "\n" not in str(caught.value)


def labelled(study: Study, *more: str, **files: bytes) -> dict[str, int]:
    """Ingest four images, with further rows and files, by `labels.csv`."""
    rows = ["p/a.png,TRAIN,A", "p/b.png,TRAIN,B", "q/a.png,TEST,A", "q/b.png,TEST,B"]
    there = {row.partition(",")[0]: png(seed) for seed, row in enumerate(rows)}
    return study.ingest(there | files, labels=[*rows, *more])


def test_labelled_files_that_are_not_images_are_rejected_with_a_reason(study: Study) -> None:
    files = {"p/notes.txt": b"junk", "p/c\td.png": png(90), "p/e.png": b"broken", "readme.txt": b""}
    summary = labelled(study, *(f"{name},TRAIN,A" for name in files if name != "readme.txt"), **files)
    assert set(study.copied()) == {"TRAIN/A/p_a.png", "TRAIN/B/p_b.png", "TEST/A/q_a.png", "TEST/B/q_b.png"}
    assert {name: reason.partition(";")[0] for name, reason in study.rejected.items()} == {
        "TRAIN/A/p_notes.txt": "not an image by the ending of its name",
        "TRAIN/A/p_c\\td.png": "has a control character, a backslash or an invalid character in its name",
        "TRAIN/A/p_e.png": "not a readable image (of no known format)",
    }
    assert summary == {
        **{"kept": 4, "rejected": 3, "left_out": 0, "copies": 0, "ignored": 1},
        "elsewhere": {"readme.txt": 1},
    }


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["p/c.png,TRAIN,A", "p/d.png,TRAIN,A"], "lists 2 files (first: 'p/c.png')"),
        (["e.png,TRAIN,A"], "'e.png' matches more than one file of"),
        (["e.png,TRAIN,A"], "'x/e.png' and 'y/e.png'; give a longer part of the path"),
        (["P/A.png,TRAIN,A"], "TRAIN/A/P_A.png and TRAIN/A/p_a.png differ"),
    ],
)
def test_labels_that_do_not_fit_the_archive_are_an_error(study: Study, rows: list[str], words: str) -> None:
    with pytest.raises(InputError) as caught:
        labelled(study, *rows, **{"x/e.png": png(90), "y/e.png": png(91), "P/A.png": png(92)})
    assert str(caught.value).startswith(f"{study.root / 'labels.csv'}: ")
    assert words in str(caught.value)


def test_a_rerun_keeps_valid_files_repairs_damaged_ones_and_removes_others(study: Study) -> None:
    study.ingest(images())
    stays, damaged, gone = (study.originals / "TRAIN" / "A" / f"{n}.png" for n in range(3))
    os.utime(stays, (1, 1))
    damaged.write_bytes(b"damaged")
    note = study.originals / "TRAIN" / "A" / "note.txt"
    note.write_text("mine")
    fewer = images()
    del fewer["TRAIN/A/2.png"]
    study.ingest(fewer)
    assert stays.stat().st_mtime == 1
    assert damaged.read_bytes() == fewer["TRAIN/A/1.png"]
    assert not gone.exists()
    assert note.read_text() == "mine"


def test_two_runs_write_identical_files(study: Study) -> None:
    study.ingest(images())
    first = {file: file.read_bytes() for file in (study.root / "results").rglob("*") if file.is_file()}
    study.ingest(dict(reversed(images().items())))
    assert first == {file: file.read_bytes() for file in (study.root / "results").rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(
            {"old/TRAIN/A/1.png": png(90)},
            "TRAIN/A/1.png occurs twice, as 'TRAIN/A/1.png' and 'old/TRAIN/A/1.png'",
            id="two prefixes",
        ),
        pytest.param(
            {"TRAIN/A/X.png": png(90), "TRAIN/A/x.png": png(91)}, "TRAIN/A/X.png and TRAIN/A/x.png differ", id="case"
        ),
        pytest.param(
            {f"TRAIN/A/{n}.png": b"broken" for n in range(3)},
            "no file in TRAIN/A can be used, the first one (TRAIN/A/0.png): not a readable image",
            id="nothing to train on",
        ),
    ],
)
def test_conflicts_stop_before_anything_is_written(study: Study, change: dict[str, bytes], words: str) -> None:
    with pytest.raises(InputError) as caught:
        study.ingest(images() | change)
    assert str(caught.value).startswith(f"{study.root / 'archive'}: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (study.root / "results").exists()


def test_a_file_that_changes_while_it_is_read_is_an_error(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = module.imaging.decode

    def change(content: bytes, name: str, **more: bool) -> np.ndarray:
        if name == "TRAIN/A/1.png":
            (study.root / "archive" / name).write_bytes(png(90))
        return decode(content, name, **more)

    monkeypatch.setattr(module.imaging, "decode", change)
    with pytest.raises(InputError, match=r"'TRAIN/A/1\.png' changed while it was read; run again"):
        study.ingest(images(), as_zip=False)


def test_a_test_partition_without_usable_images_is_a_warning(study: Study, caplog: pytest.LogCaptureFixture) -> None:
    study.ingest(images() | {f"TEST/A/{n}.png": b"broken" for n in range(3)})
    assert "no file in TEST/A can be used" in caplog.text
    assert study.manifest("TEST", "A").read_text() == ",".join(MANIFEST_COLUMNS) + "\n"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("TRAIN/", "Train/", "has no folder 'TRAIN' with files (dataset.partitions); the nearest is 'Train'"),
        ("TEST/", "q/", "has no folder 'TEST' with files (dataset.partitions); found 'A', 'B', 'TRAIN', 'q'"),
        ("TRAIN/B/", "TRAIN/b/", "has no folder 'B' with files in 'TRAIN' (dataset.classes); the nearest is 'b'"),
        ("TEST/B/", "TEST/other/", "has no folder 'B' with files in 'TEST' (dataset.classes); found 'A', 'other'"),
    ],
)
def test_the_error_for_a_missing_folder_lists_the_existing_ones(study: Study, old: str, new: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        study.ingest({name.replace(old, new): content for name, content in images().items()})
    assert words in str(caught.value)


@pytest.mark.parametrize(("others", "more"), [(8, False), (9, True)])
def test_the_error_for_a_missing_folder_lists_at_most_ten(study: Study, others: int, more: bool) -> None:
    """Ten including A and TRAIN; the folder of the other class is missing."""
    files = {"TRAIN/A/1.png": png(0)} | {f"{number}/1.png": png(1) for number in range(others)}
    with pytest.raises(InputError) as caught:
        study.ingest(files, partitions={"train": "TRAIN", "test": "nowhere"}, classes=["A"])
    listed = ", ".join(repr(name) for name in sorted(["A", "TRAIN", *map(str, range(others))])[:10])
    assert str(caught.value).endswith(f"; found {listed}" + (" and more" if more else ""))


def test_an_empty_archive_is_an_error(study: Study) -> None:
    with pytest.raises(InputError, match=r"has no folder 'TRAIN' .*; found no folder"):
        study.ingest({})


@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "folder"])
def test_an_archive_of_archives_is_named(study: Study, as_zip: bool) -> None:
    """An archive beside images does no harm."""
    with pytest.raises(InputError, match=r"no image in a folder, but 2 archives \('part_1\.zip', 'x/part_2\.RAR'\)"):
        study.ingest({"part_1.zip": b"PK", "x/part_2.RAR": b"", "figure.png": png(0)}, as_zip=as_zip)
    study.ingest(images() | {"masks.zip": b"PK"}, as_zip=as_zip)


def test_a_rotated_image_has_its_displayed_size(study: Study) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = io.BytesIO()
    Image.new("RGB", (8, 6)).save(content, "JPEG", exif=exif)
    study.ingest(images() | {"TRAIN/A/9.jpg": content.getvalue()})
    (row,) = study.images.query("image == 'TRAIN/A/9.jpg'").itertuples()
    assert (row.width, row.height) == (6, 8)
    assert study.copied()["TRAIN/A/9.jpg"] == content.getvalue()


def deep(seed: int, top: int, least: int = 0) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(least, top + 1, (6, 8, 3), dtype=np.uint16)
    pixels[0, 0] = top
    return pixels


@pytest.mark.parametrize(
    ("least", "top", "range_", "suggests"),
    [
        (0, 4095, None, "[0, 4095]"),
        (0, 900, None, "[0, 1023]"),
        (0, 16000, None, "[0, 16383]"),
        (0, 200, None, "[0, 255]"),
        (61440, 65535, None, "[61440, 65535]"),
        (0, 60000, None, None),
        (0, 30000, None, None),
        (0, 4095, [0, 4095], None),
        (0, 900, [0, 4095], "[0, 1023]"),
    ],
)
def test_16_bit_images_that_look_black_give_a_warning(
    study: Study, caplog: pytest.LogCaptureFixture, least: int, top: int, range_: list[int] | None, suggests: str | None
) -> None:
    files = {image: encode_png(deep(seed, top, least)) for seed, image in enumerate(images())}
    files["TRAIN/A/0.png"] = png(0)  # an 8-bit image gives no information about the camera
    summary = study.ingest(files, range=range_)
    assert (summary["deep"], summary["greatest_level"], summary["cut_pixels"]) == (11, top, 0)
    assert summary["least_level"] >= least
    if suggests is None:
        assert "dataset.range" not in caplog.text
    elif least:
        assert re.search(r"dataset\.range: \[6\d{4}, 65535\]", caplog.text)
    else:
        assert f"dataset.range: {suggests}" in caplog.text
        assert f" to {top}" in caplog.text


@pytest.mark.parametrize("bright", [1, 11])
def test_bright_pixels_in_one_image_do_not_prevent_the_warning_about_12_bits(
    study: Study, caplog: pytest.LogCaptureFixture, bright: int
) -> None:
    """One image has one damaged pixel or only damaged pixels; if most images use all bits, there is no warning."""
    files = {image: deep(seed, 4095) for seed, image in enumerate(images())}
    for pixels in [*files.values()][:bright]:
        pixels[:] = pixels * 15
    study.ingest({image: encode_png(pixels) for image, pixels in files.items()})
    assert ("dataset.range: [0, 4095]" in caplog.text) == (bright == 1)


@pytest.mark.parametrize("path", ["A/B/1.png", "0/A/x/B/1.png"])
def test_a_file_in_the_folders_of_two_classes_is_rejected(study: Study, path: str) -> None:
    """A patient's folder may have the name of a class, so the class cannot be known."""
    files = {f"A/{seed}.png": png(seed) for seed in (1, 2)} | {f"B/{seed}.png": png(seed) for seed in (3, 4)}
    with pytest.raises(InputError, match=rf"'{path}' is in .* 'A' and 'B'.*dataset\.labels"):
        study.ingest(files | {path: png(5)}, partitions=None)


def test_images_that_become_equal_by_rescaling_are_not_duplicates(
    study: Study, caplog: pytest.LogCaptureFixture
) -> None:
    files = {image: encode_png(deep(seed, 65_535, 40_000)) for seed, image in enumerate(images())}
    assert study.ingest(files, range=[0, 4095])["rejected"] == 0
    assert "dataset.range [0, 4095] clips" in caplog.text


def test_pooled_partitions_give_a_warning(study: Study, caplog: pytest.LogCaptureFixture) -> None:
    files = {
        f"{folder}/{name}/{folder}{seed}.png": png(seed)
        for folder in ("fit", "val")
        for name, seed in (("A", 1), ("B", 2))
    }
    study.ingest(files, partitions=None)
    assert "2 folders (fit, val)" in caplog.text
    assert "dataset.partitions" in caplog.text


@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "folder"])
def test_range_rescales_16_bit_images_when_they_are_ingested(
    study: Study, caplog: pytest.LogCaptureFixture, as_zip: bool
) -> None:
    arrays = {"TRAIN/A/7.png": deep(7, 4095), "TRAIN/A/8.tif": deep(8, 4095), "TEST/B/9.png": deep(9, 5000)[:, :, 0]}
    files = images() | {image: encode(pixels, image) for image, pixels in arrays.items()}
    files["TRAIN/A/7 again.png"] = files["TRAIN/A/7.png"]
    summary = study.ingest(files, as_zip=as_zip, range=[0, 4095])
    written = study.copied()
    for image, pixels in arrays.items():
        stretched = (pixels.clip(0, 4095) * (65535 / 4095)).round().astype(np.uint16)
        np.testing.assert_array_equal(decode(written[image], image), stretched)
        assert (Image.open(io.BytesIO(written[image])).format == "TIFF") == image.endswith(".tif")
    assert {image: written[image] for image in images()} == images()
    for row in study.images.itertuples():
        assert hashlib.sha256(written[row.image]).hexdigest() == row.sha256
    for partition, name in FOLDERS:
        rows = read_csv(study.manifest(partition, name), MANIFEST_COLUMNS)
        digests = rows["image"].map(lambda image: hashlib.sha256(written[image]).hexdigest())
        assert (rows["sha256"] == digests).all()
        assert (rows["input_sha256"] == digests).all(), "an output of a later stage for another range was reused"
    assert summary["copies"] == 1
    cut = int((arrays["TEST/B/9.png"] > 4095).sum())
    assert summary["cut_pixels"] == cut
    assert f"clips {cut} of {4 * 48} pixels, in 1 of 4 " in caplog.text


def test_floating_point_images_need_a_range(study: Study, caplog: pytest.LogCaptureFixture) -> None:
    pixels = np.linspace(-1, 2, 48, dtype=np.float32).reshape(6, 8)
    files = images() | {"TRAIN/A/8.tif": tiff(pixels), "TRAIN/A/9.gif": b"GIF89a"}
    study.ingest(files)
    assert study.rejected["TRAIN/A/8.tif"].startswith("has float32 samples; set dataset.range")
    assert study.rejected["TRAIN/A/9.gif"].startswith("not a readable image")
    summary = study.ingest(files, range=[0, 0.5])
    expected = np.rint(pixels.clip(0, 0.5).astype(float) * 2 * 65535)
    np.testing.assert_array_equal(decode(study.copied()["TRAIN/A/8.tif"], "x"), expected)
    assert (summary["deep"], summary["least_level"], summary["greatest_level"]) == (1, -1, 2)
    assert "clips 40 of 48 pixels" in caplog.text


@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "folder"])
def test_the_first_pages_replace_files_of_several_pages(study: Study, as_zip: bool) -> None:
    """All other files are copied unchanged, and a rerun writes the same bytes."""
    pages = np.random.default_rng(0).integers(0, 256, (2, 6, 8), dtype=np.uint8)
    paged = {"TRAIN/A/7.tif": tiff(pages, photometric="minisblack"), "TRAIN/A/8.gif": animated("L", "GIF")}
    assert study.ingest(images() | paged, as_zip=as_zip)["rejected"] == 2
    assert "dataset.first_page" in study.rejected["TRAIN/A/7.tif"]
    assert study.ingest(images() | paged, as_zip=as_zip, first_page=True)["kept"] == 14
    copied = study.copied()
    assert {name: copied[name] for name in images()} == images()
    np.testing.assert_array_equal(decode(copied["TRAIN/A/7.tif"], "x"), pages[0])
    assert decode(copied["TRAIN/A/8.gif"], "x").shape == (4, 4, 3)
    hashes = dict(zip(study.images["image"], study.images["sha256"], strict=True))
    assert all(hashlib.sha256(copied[name]).hexdigest() == hashes[name] for name in paged)
    study.ingest(images() | paged, as_zip=as_zip, first_page=True)
    assert study.copied() == copied


def test_a_range_without_16_bit_images_gives_a_warning(study: Study, caplog: pytest.LogCaptureFixture) -> None:
    study.ingest(images(), range=[0, 4095])
    assert study.copied() == images()
    assert "dataset.range is set, but" in caplog.text


def test_another_range_changes_the_images_and_the_same_range_restores_them(study: Study) -> None:
    files = images() | {"TRAIN/A/9.png": encode_png(deep(9, 4095))}
    target = study.originals / "TRAIN/A/9.png"

    def taken(range_: list[int] | None) -> tuple[bytes, int]:
        study.ingest(files, range=range_)
        return target.read_bytes(), target.stat().st_ino

    first = taken([0, 4095])
    assert taken([0, 4095]) == first
    assert taken([0, 2047])[0] != first[0]
    assert taken(None)[0] == files["TRAIN/A/9.png"]


# Paths and contents of the files of a generated archive.
PLACES = st.sampled_from(["TRAIN/A", "TRAIN/B", "TEST/A", "TEST/B", "TRAIN/C", "A", "TRAIN/A/more", "x/TEST/A"])
LEAVES = st.sampled_from(["8.png", "8.PNG", "9.png", "9.jpeg", ".8.png", "é.png", "- 9.png", "a b.png", "notes.txt"])
CONTENTS = st.sampled_from([b"", b"<html>", png(1)[:-9], *map(png, range(100, 104))])


@settings(max_examples=40, derandomize=True)
@given(
    st.dictionaries(st.builds("{}/{}".format, PLACES, LEAVES), CONTENTS, max_size=12),
    st.one_of(st.none(), st.integers(2, 4)),
    st.booleans(),
)
def test_each_file_is_kept_unchanged_or_reported(
    tmp_path_factory: pytest.TempPathFactory, others: dict[str, bytes], limit: int | None, as_zip: bool
) -> None:
    """For any archive, kept files are unchanged, and every file is kept, rejected, left out or ignored; or one line."""
    study = Study(tmp_path_factory.mktemp("any"))
    files = images(2) | others
    summary, message = None, ""
    try:
        summary = study.ingest(files, as_zip=as_zip, limit_per_class=limit)
    except InputError as error:
        message = str(error)
    if summary is None:
        assert len(message.splitlines()) == 1
        assert not study.originals.exists()
        return
    # A file that is not an image and occurs under two prefixes has one row in rejected.csv.
    apart = {name.removeprefix("x/") for name in files}
    assert sum(summary[key] for key in ("kept", "rejected", "left_out", "ignored")) == len(apart)
    copied = study.copied()
    assert set(copied) == set(study.images["image"])
    for image, content in copied.items():
        assert content in {files.get(image), files.get(f"x/{image}")}
    assert not set(copied) & set(study.rejected)
    if limit is not None:
        assert study.images.groupby(["partition", "class"]).size().max() <= limit
    by_bytes = study.images.groupby("sha256")["class"].nunique()
    assert (by_bytes == 1).all(), "the same bytes under two labels"


@pytest.mark.real
def test_a_small_part_of_the_real_archive_is_ingested(tmp_path: Path, real_archive: Path) -> None:
    classes = ["EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL"]
    partitions = {"train": "TRAIN", "test": "TEST"}
    dataset = {"partitions": partitions, "classes": classes, "limit_per_class": 2}
    dataset |= {"limits": LIMITS, "links": None, "range": None, "first_page": False, "git": None}
    summary = ingest(real_archive, dataset, tmp_path / "images.csv", tmp_path / "rejected.csv", tmp_path / "files", {})
    assert (summary["kept"], summary["left_out"]) == (16, 12444 - 16)
    assert set(read_csv(tmp_path / "images.csv", IMAGE_COLUMNS)["width"]) == {320}
