"""Splits: the study's split is reproduced exactly, the split by source has no leakage, and leakage is counted."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defaults import LIMITS
from wbcsr.dataset.archive import open_archive
from wbcsr.dataset.split import (
    LEAKAGE_COLUMNS,
    by_source_split,
    count_subsets,
    custom_split,
    leakage,
    paper_split,
    published_split,
    split_images,
)
from wbcsr.errors import InputError
from wbcsr.files import write_csv


def table(*images: str) -> pd.DataFrame:
    rows = [(image, *image.split("/")[:2]) for image in images]
    return pd.DataFrame(rows, columns=["image", "partition", "class"])


def numbered(train: int, test: int = 0, name: str = "A") -> list[str]:
    return [f"{part}/{name}/{n}.png" for part, count in (("TRAIN", train), ("TEST", test)) for n in range(count)]


PARTITIONS = {"train": "TRAIN", "validation": "VAL", "test": "TEST"}
IMAGES = table(*numbered(4, test=6))
THREE = table("TRAIN/A/1", "VAL/A/1", "TEST/A/1")
SOURCES = IMAGES[["image"]].assign(source=[str(number // 2) for number in range(10)])


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
        (100, 0.29, 28),  # 0.29 · 100 is 28.999999999999996 in binary floating point, and Keras truncates it
        (100, 0.57, 56),
        (10, 0.7, 7),
    ],
)
def test_number_of_validation_images(images: int, fraction: float, held_out: int) -> None:
    found = subsets(paper_split(table(*numbered(images)), "TRAIN", "TEST", fraction))
    assert (len(found["validation"]), len(found["train"])) == (held_out, images - held_out)


def test_the_first_names_in_text_order_are_for_validation() -> None:
    split = paper_split(table(*numbered(12, test=2)), "TRAIN", "TEST", 0.25)
    assert subsets(split)["validation"] == ["TRAIN/A/0.png", "TRAIN/A/1.png", "TRAIN/A/10.png"]
    assert subsets(split)["test"] == ["TEST/A/0.png", "TEST/A/1.png"]


@pytest.mark.parametrize(
    ("split", "images", "expected"),
    [
        ("paper", IMAGES, paper_split(IMAGES, "TRAIN", "TEST", 0.5)),
        ("published", THREE, published_split(THREE, PARTITIONS)),
        ("by_source_fold2", IMAGES, by_source_split(IMAGES, SOURCES, 3, 2)),
        ("custom", IMAGES, IMAGES[["image"]].assign(subset=["test", "validation", *["train"] * 7, ""])),
    ],
)
def test_a_split_is_selected_by_its_name(
    split: str, images: pd.DataFrame, expected: pd.DataFrame, tmp_path: Path
) -> None:
    files = [tmp_path / "sources.csv", tmp_path / "custom.csv"]
    for file, written in zip(files, [SOURCES, expected], strict=True):
        write_csv(file, written)
    settings = {"partitions": PARTITIONS, "validation_fraction": 0.5, "parts": 3, "extra_tests": {}}
    pd.testing.assert_frame_equal(split_images(images, split, settings, *files), expected, check_dtype=False)


EXTRA = table("OTHER/A/1.png", "OTHER/B/1.png")


@pytest.mark.parametrize("split", ["paper", "published", "by_source_fold2", "custom"])
def test_an_extra_test_is_the_same_in_every_split_and_changes_no_other_subset(split: str, tmp_path: Path) -> None:
    images = THREE if split == "published" else IMAGES
    own = ["test", "validation", "train"] + ["train"] * (len(images) - 3)
    write_csv(tmp_path / "custom.csv", images[["image"]].assign(subset=own))
    write_csv(tmp_path / "alone.csv", SOURCES)
    # Of the same source as a training image, and of none that is known.
    write_csv(tmp_path / "sources.csv", pd.concat([EXTRA[["image"]].assign(source=["0", ""]), SOURCES]))
    settings = {"partitions": PARTITIONS, "validation_fraction": 0.5, "parts": 3, "extra_tests": {}}
    alone = split_images(images, split, settings, tmp_path / "alone.csv", tmp_path / "custom.csv")
    together = pd.concat([EXTRA[:1], images, EXTRA[1:]], ignore_index=True)
    with_extra = {**settings, "partitions": {**PARTITIONS, "other": "OTHER"}, "extra_tests": {"other": "OTHER"}}
    found = split_images(together, split, with_extra, tmp_path / "sources.csv", tmp_path / "custom.csv")
    assert list(found["image"]) == list(together["image"])
    assert subsets(found) == {**subsets(alone), "other": list(EXTRA["image"])}


def test_an_extra_test_without_images_is_refused(tmp_path: Path) -> None:
    settings = {"partitions": PARTITIONS, "validation_fraction": 0.5, "extra_tests": {"other": "OTHER"}}
    with pytest.raises(InputError, match=r"extra test other: has no image in the partition 'OTHER'"):
        split_images(IMAGES, "paper", settings, tmp_path, tmp_path)


def test_a_split_of_ones_own_trains_on_no_extra_test(tmp_path: Path) -> None:
    rows = IMAGES[["image"]].assign(subset=["test", "validation", *["train"] * 8])
    own = EXTRA.set_index("image")["class"].map({"A": "other", "B": "other"})
    listed = pd.concat([rows, EXTRA[["image"]].assign(subset="other")])
    write_csv(tmp_path / "own.csv", listed)
    assert len(custom_split(IMAGES, tmp_path / "own.csv", own)) == len(IMAGES)
    write_csv(tmp_path / "own.csv", listed.assign(subset=listed["subset"].replace("other", "train")))
    with pytest.raises(InputError, match=r"own\.csv: has OTHER/A/1\.png in the subset 'train', .* extra test 'other'"):
        custom_split(IMAGES, tmp_path / "own.csv", own)


def test_leakage_is_counted_of_extra_tests() -> None:
    images = pd.concat([IMAGES, EXTRA], ignore_index=True)
    sources = pd.concat([SOURCES, EXTRA[["image"]].assign(source=["0", ""])])
    split = images[["image"]].assign(subset=["train", "validation", *["test"] * 8, "other", "other"])
    found = leakage("paper", images, sources, split).query("subset == 'other'").set_index("class")
    assert found.loc["", ["images", "sources", "unknown", "shared"]].tolist() == [2, 1, 1, 1]


def test_subsets_are_counted_by_class() -> None:
    images = table("TRAIN/A/1", "TRAIN/A/2", "TRAIN/B/1", "TEST/B/2")
    counts = count_subsets(images, images[["image"]].assign(subset=["train", "train", "", "test"]))
    assert counts == {"images": {"test": {"B": 1}, "train": {"A": 2}}, "left_out": 1}


def test_partitions_have_their_configured_names() -> None:
    images = table("test/A/1", "test/A/2", "train/A/1")
    assert list(paper_split(images, "test", "train", 0.5)["subset"]) == ["validation", "train", "test"]


NAMES = st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"]), min_size=1, max_size=4)


@settings(max_examples=50)
@given(
    names=st.dictionaries(
        st.sampled_from(["A", "NA", "b c"]),
        st.tuples(st.sets(NAMES, min_size=4, max_size=30), st.sets(NAMES, max_size=5)),
        min_size=1,
    ),
    fraction=st.floats(0.25, 0.75),
    data=st.data(),
)
def test_every_image_has_one_subset_for_any_order(
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
        (numbered(4), 0.2, "of its 4 images in 'TRAIN' leaves 4 for training and 0 for validation"),
        (numbered(1), 0.9, "of its 1 image in 'TRAIN' leaves 1 for training and 0 for validation"),
        (numbered(0, test=3), 0.2, "of its 0 images in 'TRAIN' leaves 0 for training and 0 for validation"),
        (numbered(3), 1.0, "of its 3 images in 'TRAIN' leaves 0 for training and 3 for validation"),
        (numbered(10) + numbered(3, name="rare"), 0.2, "class 'rare': validation_fraction 0.2 of its 3 images"),
    ],
)
def test_a_class_needs_training_and_validation_images(images: list[str], fraction: float, words: str) -> None:
    with pytest.raises(InputError, match=r"change validation_fraction .*dataset\.limit_per_class") as caught:
        paper_split(table(*images), "TRAIN", "TEST", fraction)
    assert words in str(caught.value)


def test_an_unknown_partition_is_an_error() -> None:
    with pytest.raises(InputError, match=r"has the partition 'OTHER'.*; run `snakemake --forcerun ingest_dataset`"):
        paper_split(table("TRAIN/A/1", "OTHER/A/1"), "TRAIN", "TEST", 0.5)


PUBLISHED = {"train": "fit", "validation": "val", "test": "held out"}


def test_published_partitions_become_the_subsets() -> None:
    images = table("held out/A/1", "fit/A/1", "val/A/1", "fit/A/2")
    split = published_split(images, PUBLISHED)
    assert split["image"].tolist() == images["image"].tolist()
    assert split["subset"].tolist() == ["test", "train", "validation", "train"]
    sources = pd.DataFrame({"image": images["image"], "source": ["s", "s", "t", ""]})
    together = leakage("published", images, sources, split).query("`class` == ''").set_index("subset")
    assert together["shared"].to_dict() == {"validation": 0, "test": 1}
    unknown = leakage("published", images, sources.assign(source=""), split)
    assert (unknown["unknown"] == unknown["images"]).all()


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (["fit/A/1", "val/A/1"], "class 'A': has no image in the partition 'held out', and the test subset"),
        (["fit/A/1", "val/A/1", "held out/A/1", "fit/B/1", "held out/B/1"], "class 'B': has no image in the partition"),
        (["fit/A/1", "val/A/1", "held out/A/1", "more/A/1"], "has the partition 'more'"),
    ],
)
def test_each_published_partition_needs_each_class(images: list[str], words: str) -> None:
    with pytest.raises(InputError) as caught:
        published_split(table(*images), PUBLISHED)
    assert words in str(caught.value)


@pytest.mark.parametrize("index", [pd.Index([0] * 12), pd.Index(range(12, 0, -1), name="image")])
def test_the_table_of_images_may_have_any_index(index: pd.Index) -> None:
    images = table(*numbered(10, test=2))
    odd = images.set_index(index)
    pd.testing.assert_frame_equal(paper_split(odd, "TRAIN", "TEST", 0.2), paper_split(images, "TRAIN", "TEST", 0.2))


@pytest.mark.real
def test_the_number_of_validation_images_equals_the_studys(real_archive: Path) -> None:
    with open_archive(real_archive, LIMITS) as archive:
        inside = [entry.partition("/images/")[2] for entry in archive.entries]
    images = table(*(image for image in inside if image.startswith(("TRAIN/", "TEST/"))))
    split = paper_split(images, "TRAIN", "TEST", 0.2)
    counts = split.groupby(["subset", images["class"]]).size()
    assert counts["validation"].to_dict() == {"EOSINOPHIL": 499, "LYMPHOCYTE": 496, "MONOCYTE": 495, "NEUTROPHIL": 499}
    assert counts.groupby(level=0).sum().to_dict() == {"test": 2487, "train": 7968, "validation": 1989}


@st.composite
def sourced(draw: st.DrawFn) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """Images of both partitions and their sources, some unknown and some of two classes, and a number of folds."""
    parts = draw(st.integers(3, 5))
    images, sources = [], []
    for name in ("A", "B", "NA"):
        for source in range(draw(st.integers(parts + 2, 3 * parts))):
            # The first sources of one class also belong to the next class.
            named = f"shared{source}" if source < 2 and name != "A" else f"{name}{source}"
            for copy in range(draw(st.integers(1, 6))):
                images.append(f"{draw(st.sampled_from(['TRAIN', 'TEST']))}/{name}/{named}_{copy}.png")
                sources.append(named)
        for copy in range(draw(st.integers(0, 3))):
            images.append(f"TRAIN/{name}/unknown_{copy}.png")
            sources.append("")
    return table(*images), pd.DataFrame({"image": images, "source": sources}), parts


@settings(max_examples=15)
@given(study=sourced(), data=st.data())
def test_subsets_share_no_source_and_each_source_is_tested_once(
    study: tuple[pd.DataFrame, pd.DataFrame, int], data: st.DataObject
) -> None:
    images, sources, parts = study
    source_of = dict(zip(sources["image"], sources["source"], strict=True))
    order = data.draw(st.permutations(range(len(images))))
    tested, validated = [], []
    for fold in range(1, parts + 1):
        split = by_source_split(images, sources, parts, fold)
        assert list(split["image"]) == list(images["image"])
        found = {subset: {source_of[image] for image in part} for subset, part in subsets(split).items()}
        assert found.pop("", {""}) == {""}
        assert found.keys() == {"train", "validation", "test"}
        assert sorted(source for part in found.values() for source in part) == sorted(set(sources["source"]) - {""})
        tested += found["test"]
        validated += found["validation"]
        assert leakage("by_source", images, sources, split)["shared"].eq(0).all()
        shuffled = by_source_split(images.iloc[order], sources.iloc[::-1], parts, fold)
        assert shuffled.set_index("image")["subset"].to_dict() == split.set_index("image")["subset"].to_dict()
    assert sorted(tested) == sorted(validated) == sorted(set(sources["source"]) - {""})


def studied(sources: dict[str, int], copies: int = 4) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The given number of sources of each class, each with `copies` images, a quarter of them in TEST."""
    names = [
        (f"{'TEST' if copy % 4 == 3 else 'TRAIN'}/{name}/_{copy}_{number}.png", f"{name}{number}")
        for name, count in sources.items()
        for number in range(count)
        for copy in range(copies)
    ]
    return table(*(image for image, _ in names)), pd.DataFrame(names, columns=["image", "source"])


def test_folds_are_balanced_by_class() -> None:
    images, sources = studied({"EOSINOPHIL": 80, "LYMPHOCYTE": 30, "MONOCYTE": 20, "NEUTROPHIL": 200}, copies=10)
    split = by_source_split(images, sources, 5, 1)
    shares = split.groupby([images["class"], "subset"]).size() / images.groupby("class").size()
    assert shares.xs("test", level="subset").between(0.19, 0.21).all()
    assert shares.xs("validation", level="subset").between(0.19, 0.21).all()


def test_the_fold_after_the_test_fold_is_for_validation() -> None:
    images, sources = studied({"A": 3, "B": 3})
    folds = [subsets(by_source_split(images, sources, 3, fold)) for fold in (1, 2, 3)]
    assert [fold["validation"] for fold in folds] == [folds[1]["test"], folds[2]["test"], folds[0]["test"]]


def test_the_tables_of_the_split_by_source_may_have_any_index() -> None:
    images, sources = studied({"A": 4, "B": 4})
    odd = images.set_index(pd.Index([0] * len(images), name="image"))
    pd.testing.assert_frame_equal(by_source_split(odd, sources, 3, 1), by_source_split(images, sources, 3, 1))


def test_images_of_unknown_source_are_left_out() -> None:
    images, sources = studied({"A": 4, "B": 4})
    sources.loc[sources["image"].str.contains("/A/_0"), "source"] = ""
    found = subsets(by_source_split(images, sources, 3, 1))
    assert found[""] == [image for image in images["image"] if "/A/_0" in image]


@pytest.mark.parametrize(
    ("sources", "unknown", "words"),
    [
        ({"A": 5, "rare": 4}, "", "class 'rare': its images come from 4 known sources, too few for by_source.parts 5"),
        ({"A": 5, "rare": 5}, "rare", "class 'rare': its images come from 0 known sources"),
    ],
)
def test_a_class_needs_at_least_one_source_per_fold(sources: dict[str, int], unknown: str, words: str) -> None:
    images, known = studied(sources)
    if unknown:
        known.loc[known["image"].str.contains(f"/{unknown}/"), "source"] = ""
    with pytest.raises(InputError, match=r"lower by_source.parts .*dataset\.limit_per_class") as caught:
        by_source_split(images, known, 5, 1)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_subset_without_a_class_is_an_error() -> None:
    """Each class has three sources, but two of them are shared; an even distribution would leave a fold without B."""
    sources = [("A/1", "p1"), ("A/2", "p2"), ("A/3", "p3"), ("B/1", "p0"), ("B/2", "p2"), ("B/3", "p3")]
    known = pd.DataFrame([(f"TRAIN/{image}", source) for image, source in sources], columns=["image", "source"])
    words = "class 'B': none of its sources is in the validation subset of fold 1 of 3"
    with pytest.raises(InputError, match=words):
        by_source_split(table(*known["image"]), known, 3, 1)


@pytest.mark.parametrize("change", ["missing", "surplus", "twice"])
def test_sources_of_other_images_are_rejected(change: str) -> None:
    images, sources = studied({"A": 3, "B": 3})
    changed = {
        "missing": sources.iloc[1:],
        "surplus": pd.concat([sources, pd.DataFrame({"image": ["TRAIN/A/new.png"], "source": ["A0"]})]),
        "twice": pd.concat([sources, sources.iloc[:1]]),
    }[change]
    with pytest.raises(InputError, match=r"first difference: TRAIN/A/.*; run `snakemake --forcerun find_sources`"):
        by_source_split(images, changed, 3, 1)


def test_leakage_counts_images_whose_source_is_in_training() -> None:
    rows = [
        ("TRAIN/A/1", "p1", "train"),
        ("TRAIN/A/2", "", "train"),
        ("TRAIN/B/1", "p2", "train"),
        ("TRAIN/A/3", "p1", "validation"),
        ("TRAIN/A/4", "p1", "validation"),
        ("TRAIN/A/5", "p3", "validation"),
        ("TRAIN/A/6", "", "validation"),
        ("TRAIN/B/2", "p1", "validation"),  # the same photograph as an image of another class
        ("TEST/A/1", "p3", "test"),
        ("TEST/B/1", "p2", "test"),
        ("TEST/B/2", "p9", ""),
    ]
    images = table(*(image for image, _, _ in rows))
    columns = pd.DataFrame(rows, columns=["image", "source", "subset"])
    audited = leakage("paper", images, columns[["image", "source"]], columns[["image", "subset"]].iloc[::-1])
    assert list(audited.columns) == LEAKAGE_COLUMNS
    assert audited.to_numpy().tolist() == [
        ["paper", "validation", "A", 4, 2, 1, 2],
        ["paper", "validation", "B", 1, 1, 0, 1],
        ["paper", "validation", "", 5, 2, 1, 3],
        ["paper", "test", "A", 1, 1, 0, 0],
        ["paper", "test", "B", 1, 1, 0, 1],
        ["paper", "test", "", 2, 2, 0, 1],
    ]


def test_the_leakage_audit_rejects_the_split_of_other_images() -> None:
    images, sources = studied({"A": 3, "B": 3})
    split = by_source_split(images, sources, 3, 1)
    with pytest.raises(InputError, match="run `snakemake --forcerun split_dataset`"):
        leakage("by_source", images, sources, split.iloc[1:])


def test_without_sources_no_image_counts_as_shared() -> None:
    images = table(*numbered(10, test=2))
    sources = pd.DataFrame({"image": images["image"], "source": ""})
    audited = leakage("paper", images, sources, paper_split(images, "TRAIN", "TEST", 0.2))
    assert audited[["images", "sources", "unknown", "shared"]].to_numpy().tolist() == [[2, 0, 2, 0]] * 4


def test_the_studys_own_split_has_leakage() -> None:
    images, sources = studied({"A": 20, "B": 20})
    audited = leakage("paper", images, sources, paper_split(images, "TRAIN", "TEST", 0.2))
    assert audited["shared"].gt(0).all()
