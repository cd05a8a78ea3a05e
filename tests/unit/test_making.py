"""The rule by which the study made its images detects images that cannot come from the stated photograph."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from defaults import LIMITS, config_of
from wbcsr.dataset.archive import open_archive
from wbcsr.dataset.making import candidates, made_from
from wbcsr.dataset.photographs import categories
from wbcsr.errors import InputError

SIDES = ("TRAIN", "TEST")


@pytest.mark.parametrize(
    ("image", "source", "allowed"),
    [
        (("TRAIN", "A"), "1.jpg", ["1.jpg"]),
        (("TEST", "A"), "1.jpg", []),  # the other partition
        (("TRAIN", "B"), "1.jpg", []),  # another class
        (("TEST", "B"), "2.jpg", ["3.jpg"]),  # of two overlapping photographs, the one of the image's partition
        (("TRAIN", "B"), "2.jpg", ["2.jpg"]),
        (("TRAIN", "A"), "4.jpg", []),  # a photograph that no image was made from
        (("TRAIN", "A"), "", []),  # no source is known
    ],
)
def test_an_image_comes_from_a_photograph_of_its_class_and_partition(
    image: tuple[str, str], source: str, allowed: list[str]
) -> None:
    rule = {"1.jpg": ("TRAIN", "A"), "2.jpg": ("TRAIN", "B"), "3.jpg": ("TEST", "B")}
    joined = {"1.jpg": ["1.jpg"], "2.jpg": ["2.jpg", "3.jpg"], "4.jpg": ["4.jpg"]}
    images = pd.DataFrame([(*image, source)], columns=["partition", "class", "source"])
    assert candidates(images, joined, rule) == [allowed]


def test_a_damaged_table_of_classes_is_named_with_the_line(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("Image,Category\n1,A\nx2,B\n")
    with (
        open_archive(tmp_path, LIMITS) as archive,
        pytest.raises(InputError, match=r"labels\.csv, line 3: 'x2'.*correct it"),
    ):
        categories(archive, config_of(dataset={"photographs": "photographs"})["dataset"], "correct it")


@pytest.mark.real
def test_the_rule_gives_the_published_test_photographs(real_archive: Path) -> None:
    """TEST_SIMPLE holds the unchanged test photographs: for each class as many as the rule gives."""
    with open_archive(real_archive, LIMITS) as archive:
        folder = "dataset-master/dataset-master/JPEGImages"
        there = {int(entry[-9:-4]) for entry in archive.entries if f"{folder}/BloodImage_" in entry}
        simple = [entry.split("/")[-2] for entry in archive.entries if "/TEST_SIMPLE/" in entry]
        dataset = config_of(dataset={"photographs": folder})["dataset"]
        rows = [(str(number), label) for number, label in categories(archive, dataset, "") if number in there]
    rule = made_from([row for row in rows if row[1] and "," not in row[1]], SIDES)
    test = [label for side, label in rule.values() if side == "TEST"]
    assert (len(rule), len(test)) == (351, 71)
    assert sorted(test) == sorted(simple)
