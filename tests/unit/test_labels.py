"""Data sets without published partitions, and labels, groups and splits from CSV files."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from defaults import LABELS, LIMITS, config_of
from wbcsr.dataset.ingest import IMAGE_COLUMNS, ingest
from wbcsr.dataset.sources import SOURCE_COLUMNS, find_sources
from wbcsr.dataset.split import custom_split
from wbcsr.errors import InputError
from wbcsr.files import read_csv
from wbcsr.imaging import encode_png

CLASSES = ["blast cell", "-ä"]


class Study:
    """An archive whose files are all images, and its labels."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.dataset: dict[str, Any] = dict.fromkeys(
            ["partitions", "limit_per_class", "photographs", "links", "range", "first_page", "git"]
        )
        self.dataset.update(classes=CLASSES, limits=LIMITS, labels=LABELS)

    def pack(self, *names: str) -> None:
        with zipfile.ZipFile(self.root / "archive.zip", "w") as packed:
            for seed, name in enumerate(names):
                pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
                packed.writestr(name, encode_png(pixels))

    def ingest(self, labels: str | None = None, **dataset: Any) -> list[str]:
        """Ingest the archive with labels from the text of a CSV file; returns the images."""
        path = self.root / "labels.csv"
        path.write_text(labels or "", encoding="utf-8")
        settings = {**self.dataset, **dataset}
        partitions = settings["partitions"].values() if settings["partitions"] else ["ALL"]
        originals = self.root / "original"
        folders = [(partition, name) for partition in partitions for name in settings["classes"]]
        ingest(
            self.root / "archive.zip",
            settings,
            self.root / "images.csv",
            self.root / "rejected.csv",
            originals,
            {folder: originals.joinpath(*folder, "manifest.csv") for folder in folders},
            labels=None if labels is None else path,
        )
        images = read_csv(self.root / "images.csv", IMAGE_COLUMNS)
        assert all((originals / image).is_file() for image in images["image"])
        return list(images["image"])

    def sources(self, method: str) -> list[str]:
        settings = {"method": method, "pattern": None, "table": None, "min_inliers": 12}
        to, labels = self.root / "sources.csv", self.root / "labels.csv"
        find_sources(self.root / "images.csv", [], Path(), settings, self.dataset, to, labels=labels)
        return list(read_csv(to, SOURCE_COLUMNS)["source"])


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


def test_classes_without_partitions(study: Study) -> None:
    study.pack("set/blast cell/1.png", "set/-ä/1.png", "set/-ä/2.png", "set/other/1.png")
    assert study.ingest() == ["ALL/blast cell/1.png", "ALL/-ä/1.png", "ALL/-ä/2.png"]
    with pytest.raises(InputError, match=r"has no folder 'Blast cell' .* the nearest is 'blast cell'$"):
        study.ingest(classes=["Blast cell", "-ä"])


def test_the_same_name_in_two_folders_of_a_class_is_an_error(study: Study) -> None:
    study.pack("a/blast cell/1.png", "b/blast cell/1.png", "-ä/1.png")
    with pytest.raises(InputError, match=r"ALL/blast cell/1\.png occurs twice, as 'a/blast cell/1\.png' and "):
        study.ingest()


def test_labels_from_a_csv_file(study: Study, caplog: pytest.LogCaptureFixture) -> None:
    """Files may be given by the end of their path; a complete path does not match the end of another one."""
    study.pack("set/p1/a.png", "set/p1/b.png", "set/p2/a.png", "p2/a.png", "set/p3/c.png", "readme.txt")
    rows = ["file,label,group", "p1/a.png,blast cell,p1", "b.png,-ä,p1", "p2/a.png,-ä,NA", "p3/c.png,other,p3"]
    caplog.set_level("INFO")
    images = study.ingest("\n".join(rows))
    assert images == ["ALL/blast cell/p1_a.png", "ALL/-ä/b.png", "ALL/-ä/p2_a.png"]
    assert "labels.csv: left out 1 of 4 rows with other classes or partitions ('other')" in caplog.text
    assert study.sources("groups") == ["p1", "p1", "NA"]
    assert study.sources("each") == images


# What a table is like → its section of the configuration, its text, and the images and groups that are read. The
# archive has set/p1/01.jpg, set/p1/02.jpg, set/p2/03.png and set/masks/01.png.
TABLES = {
    "other column names": (
        {"columns": {"file": "Image_ID", "label": "dx", "group": "lesion"}},
        "lesion,Image_ID,DX,file\nL1,02.jpg,blast cell,x\nL2,03.png,-ä,y\n",
        {"ALL/blast cell/02.jpg": "L1", "ALL/-ä/03.png": "L2"},
    ),
    "no endings, semicolons, backslashes": (
        {},
        "File; Label; Group\np1\\02; blast cell ; L1\nset\\p2\\03 ;-ä; L2\n",
        {"ALL/blast cell/p1_02.jpg": "L1", "ALL/-ä/set_p2_03.png": "L2"},
    ),
    "numbers, tabs": (
        {"name": "{:02}.jpg", "columns": {"file": "no"}},
        "no\tlabel\n1\tblast cell\n2\t-ä\n",
        {"ALL/blast cell/01.jpg": "", "ALL/-ä/02.jpg": ""},
    ),
    "one column for two purposes": (
        {"name": "{}.jpg", "columns": {"file": "id", "group": "id"}},
        "id,label\np1/01,blast cell\np1/02,-ä\n",
        {"ALL/blast cell/p1_01.jpg": "p1/01", "ALL/-ä/p1_02.jpg": "p1/02"},
    ),
}


@pytest.mark.parametrize(("section", "text", "expected"), TABLES.values(), ids=TABLES.keys())
def test_a_published_table_is_read_by_configuration(
    study: Study, section: dict[str, Any], text: str, expected: dict[str, str]
) -> None:
    study.dataset["labels"] = config_of(dataset={"labels": {"file": "labels.csv", **section}})["dataset"]["labels"]
    study.pack("set/p1/01.jpg", "set/p1/02.jpg", "set/p2/03.png", "set/masks/01.png")
    images = study.ingest(text)
    assert images == list(expected)
    if any(expected.values()):
        assert study.sources("groups") == list(expected.values())


def test_several_labels_become_one_class_and_the_others_are_listed(study: Study) -> None:
    study.pack("1.png", "2.png", "3.png", "4.png", "5.png", "6.png")
    study.dataset["members"] = {"blast cell": ["BL*", "MYB"], "-ä": ["3"]}
    rows = "file,label,group\n1,BL1,p1\n2,MYB,p2\n3,3,p1\n4,KSC,p1\n5,,p1\n6,KSC,p3\nmissing,KSC,p3\n"
    images = study.ingest(rows)
    assert images == ["ALL/blast cell/1.png", "ALL/blast cell/2.png", "ALL/-ä/3.png"]
    assert study.sources("groups") == ["p1", "p2", "p1"]
    rejected = read_csv(study.root / "rejected.csv", ["image", "reason"])
    assert rejected.to_numpy().tolist() == [
        ["4", "has the label 'KSC', which dataset.classes lacks"],
        ["5", "has no label"],
        ["6", "has the label 'KSC', which dataset.classes lacks"],
    ]
    with pytest.raises(InputError, match=r"has no row with the label 'MYB'"):
        study.ingest(rows.replace("MYB", "BL2"))
    study.dataset["members"]["-ä"] = ["x*"]
    with pytest.raises(InputError, match=r"has no row with the label '-ä'"):
        study.ingest(rows)


def test_labels_that_differ_from_a_class_only_by_case_give_a_warning(
    study: Study, caplog: pytest.LogCaptureFixture
) -> None:
    """Blanks and Unicode forms do not matter; case does, and such rows are left out."""
    study.pack("1.png", "2.png", "3.png")
    assert study.ingest("Label;File\n blast cell ;.\\1.png\n-a\u0308;2.png\nBlast Cell;3.png\n") == [
        "ALL/blast cell/1.png",
        "ALL/-ä/2.png",
    ]
    assert "'Blast Cell', 'blast cell'" in caplog.text
    assert "dataset.classes" in caplog.text


def test_labels_with_partitions(study: Study) -> None:
    study.pack("1.png", "2.png", "3.png", "4.png", "5.png")
    rows = ["file,label,partition", "1.png,blast cell,fit", "2.png,-ä,fit", "3.png,-ä,check", "4.png,blast cell,check"]
    images = study.ingest("\n".join([*rows, "5.png,-ä,spare"]), partitions={"train": "fit", "test": "check"})
    assert images == ["fit/blast cell/1.png", "fit/-ä/2.png", "check/blast cell/4.png", "check/-ä/3.png"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            ["file,class"],
            r"labels\.csv: lacks the column label \(it has 'file', 'class'\); correct it \(dataset\.labels\)",
        ),
        (
            ["file,label", "a.png,-ä"],
            r"has no row with the label 'blast cell'; correct it .* remove it from dataset\.classes",
        ),
        (["file,label", "../a.png,-ä"], r"line 2: the file '\.\./a\.png' is not a path inside the archive"),
        (["file,label", ",-ä"], r"line 2: the column file is empty; correct it"),
        (["file,label", "a.png,-ä", "a.png,blast cell"], r"has 'a\.png' twice"),
        (
            ["file,label", "p/a.png,-ä", "p_a.png,-ä", "b.png,blast cell"],
            r"'p/a\.png' and 'p_a\.png' would both become ALL/-ä/p_a\.png; rename",
        ),
        (["file,label", "a.png,-ä", "b.png,blast cell"], r"lists 1 file \(first: 'b\.png'\) not in "),
        (
            ["file,label", "a.png,-ä", "c.png,blast cell"],
            r"'c\.png' matches more than one file of .*give a longer part of the path",
        ),
        (
            ["file,label", "a.png,-ä", "d,blast cell"],
            r"'d' matches more than one file of .*'d\.jpg' and 'd\.png'; give .*ending of the name",
        ),
        (["file,label", "a,-ä", "a.png,blast cell"], r"has two rows for 'a\.png'"),
        (["file,label", "q/e,-ä", "q_e.png,-ä", "b,blast cell"], r"'q/e\.png' and 'q_e\.png' would both become"),
    ],
)
def test_wrong_labels_give_one_line(study: Study, rows: list[str], message: str) -> None:
    study.pack("a.png", "p/a.png", "p_a.png", "x/c.png", "y/c.png", "d.jpg", "d.png", "q/e.png", "q_e.png")
    with pytest.raises(InputError, match=message) as caught:
        study.ingest("\n".join(rows))
    assert "\n" not in str(caught.value)
    assert not (study.root / "images.csv").exists()


def test_labels_without_groups_have_no_groups(study: Study) -> None:
    study.pack("a.png", "b.png")
    study.ingest("file,label\na.png,-ä\nb.png,blast cell")
    with pytest.raises(InputError, match=r"labels\.csv: lacks the column group .*; correct it"):
        study.sources("groups")


IMAGES = pd.DataFrame({"image": [f"ALL/{name}/{n}.png" for name in "AB" for n in range(4)], "class": list("AAAABBBB")})
SUBSETS = ["train", "validation", "test", ""] * 2
GIVEN = "image,subset\n" + "".join(f"{row[0]},{row[1]}\n" for row in zip(IMAGES["image"], SUBSETS, strict=True))


def test_a_custom_split_is_used_unchanged(tmp_path: Path) -> None:
    """The order does not matter, and images that are not in this study are ignored."""
    (tmp_path / "mine.csv").write_text(GIVEN + "ALL/C/0.png,train\n")
    shuffled = IMAGES.sample(frac=1, random_state=0, ignore_index=True)
    split = custom_split(shuffled, tmp_path / "mine.csv")
    assert list(split["image"]) == list(shuffled["image"])
    assert list(split.sort_values("image")["subset"]) == SUBSETS


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (GIVEN.replace("subset", "part"), r"mine\.csv: lacks the column subset .*; correct it \(custom\)"),
        (GIVEN + "ALL/A/0.png,test\n", r"has ALL/A/0\.png twice"),
        (GIVEN.replace("validation", "dev"), r"has the subset 'dev', .*train, validation, test"),
        (GIVEN.replace("ALL/A/1.png", "ALL/A/9.png"), r"1 of 8 images have no row \(first: ALL/A/1\.png\); add a row"),
        (GIVEN.replace("ALL/B/2.png,test", "ALL/B/2.png,"), r"has no test image of class 'B'; each subset needs one"),
    ],
)
def test_a_wrong_custom_split_gives_one_line(tmp_path: Path, written: str, message: str) -> None:
    (tmp_path / "mine.csv").write_text(written)
    with pytest.raises(InputError, match=message):
        custom_split(IMAGES, tmp_path / "mine.csv")
