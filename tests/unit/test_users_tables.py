"""Tables from users and spreadsheets are read correctly, or give one line with file and line number."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbcsr.dataset.sources import SOURCE_COLUMNS, find_sources
from wbcsr.dataset.split import by_source_split, custom_split, leakage
from wbcsr.errors import InputError
from wbcsr.files import read_csv, read_users_table, write_csv
from wbcsr.names import alike, clean, clean_path

PLAIN = "image,source\nTRAIN/A/1.png,p1\nTRAIN/B/2.png,007\n"
READ = [["TRAIN/A/1.png", "p1"], ["TRAIN/B/2.png", "007"]]


def test_an_empty_table_has_text_columns(tmp_path: Path) -> None:
    table = read(tmp_path, "image,source\n")
    assert table["image"].str.len().tolist() == []


def read(folder: Path, content: str | bytes) -> pd.DataFrame:
    path = folder / "mine.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_users_table(path, ["image", "source"], "correct it (sources.table)", optional=["note"])


SAME = {
    "plain": PLAIN,
    "semicolons": PLAIN.replace(",", ";"),
    "semicolons, declared in the first line": "sep=;\r\n" + PLAIN.replace(",", ";").replace("\n", "\r\n"),
    "tabs": PLAIN.replace(",", "\t"),
    "tabs in UTF-16, little-endian": b"\xff\xfe" + PLAIN.replace(",", "\t").encode("utf-16-le"),
    "tabs in UTF-16, big-endian": b"\xfe\xff" + PLAIN.replace(",", "\t").encode("utf-16-be"),
    "byte-order mark": b"\xef\xbb\xbf" + PLAIN.encode(),
    "Windows line ends": PLAIN.replace("\n", "\r\n"),
    "old Mac line ends": PLAIN.replace("\n", "\r"),
    "no line end at the end": PLAIN.rstrip(),
    "upper case in column names": PLAIN.replace("image,source", "Image,SOURCE"),
    "blanks around column names": PLAIN.replace("image,source", "\u00a0image , source\u200b"),
    "blanks around cells": PLAIN.replace("p1", " p1\u00a0").replace("007", "\u3000007\u200b"),
    "quotation marks": PLAIN.replace("p1", '"p1"').replace("image", '"image"'),
    "quotation marks after blanks": PLAIN.replace("p1", ' "p1"'),
    "quoted semicolons": '"image";"source"\n"TRAIN/A/1.png";"p1"\n"TRAIN/B/2.png";"007"\n',
    "commas at the ends of rows": PLAIN.replace("\n", ",\n"),
    "commas at the ends of all rows but the first": PLAIN.replace("\n", ",,\n").replace("source,,", "source"),
    "empty rows": PLAIN.replace("\n", "\n\n,\n", 1) + ",\n , \n\n",
    "columns in another order, and further ones": "x,source,x,image\n1,p1,2,TRAIN/A/1.png\n1,007,2,TRAIN/B/2.png\n",
    "back slashes": PLAIN.replace("/", "\\"),
    "paths that begin with a dot": PLAIN.replace("TRAIN/", "./TRAIN//"),
}


@pytest.mark.parametrize("content", SAME.values(), ids=SAME.keys())
def test_all_formats_of_spreadsheets_give_the_same_table(tmp_path: Path, content: str | bytes) -> None:
    assert read(tmp_path, content)[["image", "source"]].to_numpy().tolist() == READ


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            PLAIN.replace("source", "patient"),
            "mine.csv: lacks the column source (it has 'image', 'patient'); correct it",
        ),
        (PLAIN.replace(",", "|"), "mine.csv: lacks the column image and the column source (it has 'image|source')"),
        ("", "mine.csv: lacks the column image and the column source (it is empty)"),
        (PLAIN.replace("source", "source,Source ").replace("p1", "p1,p2"), "mine.csv: has the column source twice"),
        (PLAIN.replace("source", "source,note,note"), "mine.csv: has the column note twice"),
        (PLAIN.replace("p1", "p,1"), "mine.csv, line 2: has 3 fields, and the first line has 2 (a comma inside"),
        (PLAIN.replace(",007", ""), "mine.csv, line 3: has 1 field, and the first line has 2"),
        (PLAIN.replace("TRAIN/B/2.png", ""), "mine.csv, line 3: the column image is empty"),
        (PLAIN.replace("p1", '"p1'), "mine.csv, line 3: cannot be read as CSV"),
        (PLAIN.replace("p1", '"p1') + 'p2"\n', "mine.csv, line 4: the column source contains a line break"),
        (
            PLAIN.replace("007", "Gröbel").encode("cp1252"),
            "mine.csv, line 3: is not UTF-8 text; save it as CSV UTF-8",
        ),
        (PLAIN.encode("utf-16-le"), "mine.csv: is not UTF-8 text"),
    ],
)
def test_a_table_that_cannot_be_read_gives_one_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, content)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "correct it (sources.table)" in str(caught.value)


def test_text_that_looks_like_a_number_or_a_missing_value_remains_text(tmp_path: Path) -> None:
    names = ["007", "1.0", "1e3", "NA", "nan", "null", "True", "2020-01-01", ""]
    rows = "".join(f"{number},{name}\n" for number, name in enumerate(names))
    assert list(read(tmp_path, f"image,source\n{rows}")["source"]) == names


BLANKS = st.text(st.sampled_from("\t\n \u00a0\u2007\u3000\u200b\u200e\u2060\ufeff"))


@given(before=BLANKS, name=st.text(), after=BLANKS)
def test_blanks_and_unicode_forms_do_not_change_a_name(before: str, name: str, after: str) -> None:
    cleaned = clean(name)
    assert clean(cleaned) == cleaned
    for form in ("NFC", "NFD"):
        assert clean(before + unicodedata.normalize(form, name) + after) == cleaned


def test_each_part_of_a_path_is_cleaned() -> None:
    assert clean_path("TRAIN / Größe /\u00a0a b.png ") == "TRAIN/Größe/a b.png"
    assert clean_path("a/ /b") == "a/ /b"


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (["p1", "P1", "p2"], [["P1", "p1"]]),
        (["1", "01", "1.0", "1,0", "10"], [["01", "1", "1,0", "1.0"]]),
        (["p007", "p7", "p70", "p0"], [["p007", "p7"]]),
        (["p 1", "p1", "p\u200b1"], [["p 1", "p1", "p\u200b1"]]),
        (["\uff11", "1"], [["1", "\uff11"]]),
        (["1.05", "1.5", "2.10", "2.1", "a-1", "a1"], []),
    ],
)
def test_names_that_probably_mean_the_same(names: list[str], groups: list[list[str]]) -> None:
    assert alike([*names, *names]) == groups


class Study:
    """Images of two classes, with one image of each class for every patient, and the table of patients."""

    def __init__(self, folder: Path, patients: list[str]) -> None:
        self.folder = folder
        images = [(f"ALL/{name}/{number}.png", name) for number in range(len(patients)) for name in "AB"]
        self.images = pd.DataFrame(images, columns=["image", "class"]).assign(partition="ALL", width=8, height=6)
        self.images["sha256"] = [f"{number:064d}" for number in range(len(images))]
        write_csv(folder / "images.csv", self.images)
        rows = [f"{image},{patients[number // 2]}\n" for number, image in enumerate(self.images["image"])]
        (folder / "mine.csv").write_text("image,source\n" + "".join(rows), encoding="utf-8")

    def sources(self, method: str = "table", **settings: str) -> pd.DataFrame:
        given = {"method": method, "table": str(self.folder / "mine.csv"), **settings}
        to = self.folder / "sources.csv"
        find_sources(self.folder / "images.csv", [], Path(), given, {"photographs": None}, to)
        return read_csv(to, SOURCE_COLUMNS)


@pytest.mark.parametrize("blank", [" ", "\u00a0", "\u200b", "\t"])
def test_a_blank_does_not_split_a_patient(tmp_path: Path, blank: str) -> None:
    """A patient with a blank in one row is one source in one subset; a split patient is reported as leakage."""
    study = Study(tmp_path, ["p1", f"p1{blank}", "p2", "p3"])
    sources = study.sources()
    assert sorted(set(sources["source"])) == ["p1", "p2", "p3"]
    split = by_source_split(study.images, sources, parts=3, fold=1)
    assert split.loc[sources["source"] == "p1", "subset"].nunique() == 1
    parted = split.assign(subset=["train"] * 2 + ["test"] * 2 + ["validation"] * 4)
    leaks = leakage("custom", study.images, sources, parted)
    assert leaks.query("subset == 'test' and `class` == ''")["shared"].tolist() == [2]


@pytest.mark.parametrize(
    ("patients", "named"),
    [
        (["p1", "P1", "p2"], ["'P1', 'p1'"]),
        (["1", "01", "2.0", "2"], ["'01', '1'; '2', '2.0'"]),
        (["NA", "n/a", "-", "p1"], ["'NA' (2 images)", "'n/a' (2 images)", "'-' (2 images)"]),
        (["p1", "p2", "p10", "p1.1"], []),
    ],
)
def test_similar_patient_names_give_one_warning_and_are_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, patients: list[str], named: list[str]
) -> None:
    sources = Study(tmp_path, patients).sources()
    assert sources["source"].nunique() == len(patients)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == min(len(named), 1)
    for name in named:
        assert name in warnings[0]


def test_patients_from_file_names_are_cleaned_and_checked_for_similar_names(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    study = Study(tmp_path, ["", ""])
    names = ["a _1.png", "a_2.png", "A_3.png", "b_4.png"]
    write_csv(tmp_path / "images.csv", study.images.assign(image=[f"ALL/A/{name}" for name in names]))
    assert list(study.sources("pattern", pattern=r"^(.*)_")["source"]) == ["a", "a", "A", "b"]
    assert "'A', 'a'" in caplog.text


def test_a_custom_split_saved_by_a_spreadsheet(tmp_path: Path) -> None:
    images = Study(tmp_path, [""] * 3).images
    subsets = ["train"] * 2 + ["validation"] * 2 + ["test"] * 2
    rows = [f"{image};{subset} \r\n" for image, subset in zip(images["image"], subsets, strict=True)]
    (tmp_path / "split.csv").write_text("\ufeffImage;Subset\r\n" + "".join(rows), encoding="utf-8")
    assert list(custom_split(images, tmp_path / "split.csv")["subset"]) == subsets
