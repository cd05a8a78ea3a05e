"""Subsampling for a small study: many sources, balanced classes, and a reproducible selection."""

from __future__ import annotations

import pandas as pd
import pytest

from wbcsr.dataset.subsample import subsample_images
from wbcsr.errors import InputError


def study(*sourced: tuple[str, str, int]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Images and sources: the given number of copies for each class and source."""
    rows = [(f"TRAIN/{name}/{source}_{n}", name, source) for name, source, copies in sourced for n in range(copies)]
    images = pd.DataFrame(rows, columns=["image", "class", "source"])
    return images[["image", "class"]].assign(partition="TRAIN"), images[["image", "source"]]


def chosen_sources(
    images: pd.DataFrame, sources: pd.DataFrame, per_class: int | None, per_source: int | None = None
) -> dict[str, dict[str, int]]:
    """The number of chosen images of each source, by class."""
    chosen = subsample_images(images, sources, per_class, per_source)
    assert list(chosen.columns) == ["image"]
    both = chosen.merge(sources, on="image").merge(images, on="image")
    return {name: part["source"].value_counts().to_dict() for name, part in both.groupby("class")}


@pytest.mark.parametrize(
    ("per_class", "a"),
    [
        (2, [1, 1]),
        (3, [1, 1, 1]),
        (5, [1, 2, 2]),
        (6, [1, 2, 3]),
        (100, [1, 2, 50]),
    ],
)
def test_every_source_gives_one_image_before_a_second_one_is_taken(per_class: int, a: list[int]) -> None:
    images, sources = study(("A", "p1", 50), ("A", "p2", 2), ("A", "p3", 1), ("B", "p4", 1))
    found = chosen_sources(images, sources, per_class)
    assert sorted(found["A"].values()) == a
    assert found["B"] == {"p4": 1}


@pytest.mark.parametrize(
    ("per_class", "per_source", "chosen"),
    [
        (100, 3, {"A": [3, 2, 1], "B": [3, 3]}),
        (100, None, {"A": [50, 2, 1], "B": [4, 3]}),
        (4, 3, {"A": [2, 1, 1], "B": [2, 2]}),
        (None, 3, {"A": [3, 2, 1], "B": [3, 3]}),
        (None, 2, {"A": [2, 1, 1], "B": [2, 2]}),
        (None, None, {"A": [4, 2, 1], "B": [4, 3]}),
    ],
)
def test_images_of_a_source_are_limited_and_classes_balanced(
    per_class: int | None, per_source: int | None, chosen: dict[str, list[int]], caplog: pytest.LogCaptureFixture
) -> None:
    images, sources = study(("A", "p1", 50), ("A", "p2", 2), ("A", "p3", 1), ("B", "p4", 4), ("B", "p5", 3))
    with caplog.at_level("INFO"):
        found = chosen_sources(images, sources, per_class, per_source)
    assert {name: sorted(numbers.values(), reverse=True) for name, numbers in found.items()} == chosen
    for name, numbers in chosen.items():
        line = f"{name}: chose {sum(numbers)} images of {len(numbers)} sources, at most {numbers[0]} per source"
        assert line in caplog.messages


def test_a_source_of_several_classes_counts_for_the_class_with_fewest_sources() -> None:
    images, sources = study(("A", "a1", 3), ("A", "a2", 3), ("A", "both", 3), ("B", "both", 3), ("B", "b1", 3))
    assert chosen_sources(images, sources, 9) == {"A": {"a1": 3, "a2": 3}, "B": {"both": 3, "b1": 3}}


def test_images_of_unknown_source_are_not_selected() -> None:
    images, sources = study(("A", "", 9), ("A", "p1", 1), ("B", "p2", 1))
    assert chosen_sources(images, sources, 5) == {"A": {"p1": 1}, "B": {"p2": 1}}


def test_the_selection_does_not_depend_on_the_order() -> None:
    images, sources = study(*[(name, f"{name}{n}", 4) for name in "AB" for n in range(9)])
    once = subsample_images(images, sources, 5)
    again = subsample_images(images.sample(frac=1, random_state=1), sources.sample(frac=1, random_state=2), 5)
    assert list(once["image"]) == [image for image in images["image"] if image in set(once["image"])]
    assert set(again["image"]) == set(once["image"])


def test_an_extra_test_is_listed_whole_and_counts_for_no_limit() -> None:
    """Its sources are not known, it lacks the class B, and it has a class that is nowhere else."""
    images, sources = study(("A", "p1", 3), ("B", "p2", 2))
    names = [f"OTHER/{name}/{number}" for name in "AC" for number in range(9)]
    other = pd.DataFrame({"image": names, "class": [name.split("/")[1] for name in names], "partition": "OTHER"})
    both = pd.concat([other, images], ignore_index=True)
    known = pd.concat([sources, other[["image"]].assign(source="")])
    found = subsample_images(both, known, None, None, ["OTHER"])["image"].tolist()
    assert found == [*names, *subsample_images(images, sources, None)["image"]]
    assert len(found) == len(names) + 2 + 2


def test_a_class_without_its_own_source_is_an_error() -> None:
    images, sources = study(("A", "p1", 2), ("B", "", 2))
    with pytest.raises(InputError, match=r"class 'B': .* known source of its own"):
        subsample_images(images, sources, 2)
