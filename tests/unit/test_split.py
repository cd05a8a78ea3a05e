"""Splits: the study's own is reproduced to the image."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wbcsr.dataset.archive import open_archive
from wbcsr.dataset.split import SPLITS, paper_split
from wbcsr.errors import InputError


def table(*images: str) -> pd.DataFrame:
    rows = [(image, *image.split("/")[:2]) for image in images]
    return pd.DataFrame(rows, columns=["image", "partition", "class"])


def numbered(train: int, test: int = 0, name: str = "A") -> list[str]:
    return [f"{part}/{name}/{n}.png" for part, count in (("TRAIN", train), ("TEST", test)) for n in range(count)]


def subsets(split: pd.DataFrame) -> dict[str, list[str]]:
    return {subset: list(part) for subset, part in split.groupby("subset")["image"]}


@pytest.mark.parametrize(
    ("images", "fraction", "held_out"),
    [
        (2497, 0.2, 499),
        (2483, 0.2, 496),
        (2478, 0.2, 495),
        (2499, 0.2, 499),
        (5, 0.2, 1),
        (9, 0.2, 1),
        (10, 0.2, 2),
        (2, 0.5, 1),
        (100, 0.29, 28),  # 0.29 · 100 is 28.999999999999996 in binary, and Keras cuts it off
        (100, 0.57, 56),
        (10, 0.7, 7),
    ],
)
def test_number_of_validation_images(images: int, fraction: float, held_out: int) -> None:
    found = subsets(paper_split(table(*numbered(images)), "TRAIN", "TEST", fraction))
    assert (len(found["validation"]), len(found["train"])) == (held_out, images - held_out)


def test_the_first_names_as_text_are_held_out() -> None:
    split = paper_split(table(*numbered(12, test=2)), "TRAIN", "TEST", 0.25)
    assert subsets(split)["validation"] == ["TRAIN/A/0.png", "TRAIN/A/1.png", "TRAIN/A/10.png"]
    assert subsets(split)["test"] == ["TEST/A/0.png", "TEST/A/1.png"]


def test_partitions_have_the_names_of_the_configuration() -> None:
    images = table("test/A/1", "test/A/2", "train/A/1")
    assert list(paper_split(images, "test", "train", 0.5)["subset"]) == ["validation", "train", "test"]


NAMES = st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"]), min_size=1, max_size=4)


@settings(max_examples=50, deadline=None)
@given(
    names=st.dictionaries(
        st.sampled_from(["A", "NA", "b c"]),
        st.tuples(st.sets(NAMES, min_size=4, max_size=30), st.sets(NAMES, max_size=5)),
        min_size=1,
    ),
    fraction=st.floats(0.25, 0.75),
    data=st.data(),
)
def test_every_image_has_one_subset_whatever_the_order(
    names: dict[str, tuple[set[str], set[str]]], fraction: float, data: st.DataObject
) -> None:
    images = [
        f"{part}/{name}/{file}"
        for name, both in names.items()
        for part, files in zip(("TRAIN", "TEST"), both, strict=True)
        for file in sorted(files)
    ]
    split = paper_split(table(*images), "TRAIN", "TEST", fraction)
    assert list(split.columns) == ["image", "subset"]
    assert list(split["image"]) == images
    given_subset = dict(zip(split["image"], split["subset"], strict=True))
    for name, (training, test) in names.items():
        held_out = [file for file in training if given_subset[f"TRAIN/{name}/{file}"] == "validation"]
        assert sorted(held_out) == sorted(training)[: int(fraction * len(training))]
        assert {given_subset[f"TRAIN/{name}/{file}"] for file in training - set(held_out)} == {"train"}
        assert {given_subset[f"TEST/{name}/{file}"] for file in test} <= {"test"}
    shuffled = paper_split(table(*data.draw(st.permutations(images))), "TRAIN", "TEST", fraction)
    assert dict(zip(shuffled["image"], shuffled["subset"], strict=True)) == given_subset


@pytest.mark.parametrize(
    ("images", "fraction", "words"),
    [
        (numbered(4), 0.2, "of its 4 images in 'TRAIN' leaves 4 to train and 0 to validate"),
        (numbered(1), 0.9, "of its 1 images in 'TRAIN' leaves 1 to train and 0 to validate"),
        (numbered(0, test=3), 0.2, "of its 0 images in 'TRAIN' leaves 0 to train and 0 to validate"),
        (numbered(10) + numbered(3, name="rare"), 0.2, "class 'rare': validation_fraction 0.2 of its 3 images"),
    ],
)
def test_a_class_needs_images_to_train_and_to_validate(images: list[str], fraction: float, words: str) -> None:
    with pytest.raises(InputError, match=r"change validation_fraction or take more images") as caught:
        paper_split(table(*images), "TRAIN", "TEST", fraction)
    assert words in str(caught.value)


def test_strange_partition() -> None:
    with pytest.raises(InputError, match="has the partition 'OTHER'"):
        paper_split(table("TRAIN/A/1", "OTHER/A/1"), "TRAIN", "TEST", 0.5)


def test_the_rows_may_carry_any_index() -> None:
    images = table(*numbered(10, test=2))
    odd = images.set_index(pd.Index([0] * len(images)))
    pd.testing.assert_frame_equal(paper_split(odd, "TRAIN", "TEST", 0.2), paper_split(images, "TRAIN", "TEST", 0.2))


@pytest.mark.real
def test_the_studys_supports(real_archive: Path) -> None:
    with open_archive(real_archive) as archive:
        inside = [entry.partition("/images/")[2] for entry in archive.entries]
    images = table(*(image for image in inside if image.startswith(("TRAIN/", "TEST/"))))
    split = SPLITS["paper"](images, "TRAIN", "TEST", 0.2)
    counts = split.groupby(["subset", images["class"]]).size()
    assert counts["validation"].to_dict() == {"EOSINOPHIL": 499, "LYMPHOCYTE": 496, "MONOCYTE": 495, "NEUTROPHIL": 499}
    assert counts.groupby(level=0).sum().to_dict() == {"test": 2487, "train": 7968, "validation": 1989}
