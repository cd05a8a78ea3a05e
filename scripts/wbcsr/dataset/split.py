"""Splits: rules that assign images to subsets; and the leakage between subsets.

A subset is train, validation, test, or the name of an extra test (`dataset.partitions.extra_tests`): a published
partition that is tested in addition in every split.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from wbcsr.config import parse_split
from wbcsr.errors import InputError
from wbcsr.files import read_csv, read_users_table
from wbcsr.text import counted

SUBSETS = ("train", "validation", "test")
LEAKAGE_COLUMNS = ["split", "subset", "class", "images", "sources", "unknown", "shared"]


def split_images(
    images: pd.DataFrame, split: str, settings: Mapping[str, Any], sources: str | Path, custom: str | Path
) -> pd.DataFrame:
    """Return the split of this name (see `config.parse_split`): image, subset, in the order of `images`.

    `images` has the columns image, partition, class. The images of the settings' `extra_tests` (name → partition) get
    that name in every split, and the rule of the split does not see them. A split by source uses the file `sources` and
    `parts` of the settings; the custom split uses the file `custom`; the other splits use `partitions`, and the study's
    split also `validation_fraction`. Raises InputError as the functions below, or if an extra test has no image.
    """
    extra = settings["extra_tests"]
    name_of = {partition: name for name, partition in extra.items()}
    names = pd.Series([name_of.get(partition) for partition in images["partition"]], images["image"], dtype=object)
    for name, partition in extra.items():
        if name not in set(names):
            raise InputError(
                f"extra test {name}: has no image in the partition {partition!r}; take it out of "
                "dataset.partitions.extra_tests, or see results/dataset/rejected.csv and dataset.images"
            )
    tested, dealt = names.dropna(), images[names.isna().to_numpy()]
    rule, fold = parse_split(split)
    if rule == "by_source":
        known = read_csv(sources, ["image", "source"])
        found = by_source_split(dealt, known[~known["image"].isin(tested.index)], settings["parts"], fold)
    elif rule == "custom":
        found = custom_split(dealt, Path(custom), tested)
    elif rule == "published":
        found = published_split(dealt, settings["partitions"])
    else:
        names_of = settings["partitions"]
        found = paper_split(dealt, names_of["train"], names_of["test"], settings["validation_fraction"])
    subset = pd.concat([tested, found.set_index("image")["subset"]])[images["image"]]
    return subset.rename_axis("image").reset_index(name="subset")


def count_subsets(images: pd.DataFrame, split: pd.DataFrame) -> dict[str, Any]:
    """Count the `images` of each subset and class of a split, and those that are `left_out`.

    `images` has the column class, `split` the column subset, in the same order.
    """
    counts = split.assign(name=images["class"]).groupby(["subset", "name"], sort=False).size()
    by_subset = {
        subset: {name: int(n) for name, n in part.droplevel(0).items()}
        for subset, part in counts.groupby(level=0)
        if subset
    }
    return {"images": by_subset, "left_out": int((split["subset"] == "").sum())}


def paper_split(
    images: pd.DataFrame, train_partition: str, test_partition: str, validation_fraction: float
) -> pd.DataFrame:
    """Return the study's split: Keras's `validation_split` of the training folder; the test folder is the test subset.

    `images` has the columns image, partition, class; the result has image, subset, in the same order. Of the n training
    images of each class, sorted by file name, the first int(validation_fraction · n) are for validation. Source:
    keras-preprocessing, image/utils.py `_list_valid_filenames_in_directory` and image/iterator.py
    `set_processing_attrs`. As there, the product is a binary floating-point number that is rounded down (0.29 of 100
    images are 28).

    Raises InputError if a class is left without a training or validation image, or an image is in neither partition.
    """
    images = images.reset_index(drop=True)
    subsets = _by_partition(images, {"train": train_partition, "test": test_partition})
    for name in images["class"].unique():
        training = images.loc[(images["partition"] == train_partition) & (images["class"] == name), "image"]
        held_out = int(validation_fraction * len(training))
        if not 0 < held_out < len(training):
            raise InputError(
                f"class {name!r}: validation_fraction {validation_fraction} of its {counted(len(training), 'image')} "
                f"in {train_partition!r} leaves {len(training) - held_out} for training and {held_out} for "
                "validation; each needs at least one, so change validation_fraction or use more "
                "images (dataset.limit_per_class)"
            )
        # Within a class, only the file names differ, so this sorts by file name.
        subsets[training.sort_values().index[:held_out]] = "validation"
    return pd.DataFrame({"image": images["image"], "subset": subsets})


def published_split(images: pd.DataFrame, partitions: Mapping[str, str]) -> pd.DataFrame:
    """Return the published split: each partition is one subset.

    `images` has the columns image, partition, class; `partitions` maps train, validation and test to the partitions'
    names. The result has image, subset, in the order of `images`.

    Raises InputError if a subset lacks a class, or an image is in none of the partitions.
    """
    subsets = _by_partition(images, partitions)
    for part, name in _empty(images, subsets):
        raise InputError(
            f"class {name!r}: has no image in the partition {partitions[part]!r}, and the {part} subset of the split "
            "published needs one; remove it from dataset.classes, or use another split"
        )
    return pd.DataFrame({"image": images["image"], "subset": subsets})


def by_source_split(images: pd.DataFrame, sources: pd.DataFrame, parts: int, fold: int) -> pd.DataFrame:
    """Split by source, so that no test image has an augmented duplicate in training.

    `images` has the columns image and class, of all partitions; `sources` has image and source (empty if not known).
    The result has image, subset, in the order of `images`; the order does not affect the subsets. The sources are
    divided into `parts` parts with nearly equal class proportions. Part `fold` (from 1) is the test subset, the next
    part (cyclically) is for validation, and the others are for training: over all folds, each source is tested once and
    used for validation once. Images without a known source get an empty subset, because they might be augmented
    duplicates of any other image. Source: scikit-learn's `StratifiedGroupKFold`. It assigns the sources one after the
    other, those with the most uneven classes first, each to the part where the class proportions stay most even.

    Raises InputError if a class has fewer sources than `parts`, or a subset lacks a class.
    """
    images = images.reset_index(drop=True)
    classes = images["class"].unique()
    known = images.assign(source=source_of(images, sources)).query("source != ''").sort_values("image")
    smaller = "lower by_source.parts (at least 3) or " if parts > 3 else ""
    remedy = f"{smaller}use more images (dataset.limit_per_class)"
    for name, number in known.groupby("class")["source"].nunique().reindex(classes, fill_value=0).items():
        if number < parts:
            raise InputError(
                f"class {name!r}: its images come from {counted(number, 'known source')}, too few for "
                f"by_source.parts {parts}; {remedy}"
            )
    subset = pd.Series("", images["image"])
    from sklearn.model_selection import StratifiedGroupKFold  # imported here, because other splits do not need it

    dealt = StratifiedGroupKFold(parts).split(known, known["class"], known["source"])
    for number, (_, rows) in enumerate(dealt, start=1):
        subset[known["image"].iloc[rows]] = {fold: "test", fold % parts + 1: "validation"}.get(number, "train")
    for part, name in _empty(images, images["image"].map(subset)):
        raise InputError(
            f"class {name!r}: none of its sources is in the {part} subset of fold {fold} of {parts}; {remedy}"
        )
    return subset.rename_axis("image").reset_index(name="subset")


def custom_split(images: pd.DataFrame, path: Path, extra: pd.Series | None = None) -> pd.DataFrame:
    """Return the split from the CSV file `path` with the columns image and subset, in the order of `images`.

    `images` has the columns image and class. A subset is train, validation, test, or empty for an image that is left
    out. Rows for images that are not in `images` are ignored, so that the split of a larger study can be used. `extra`
    maps the images of extra tests to their names; the file need not list them, and may give them no other subset.

    Raises InputError if an image has no row or two, a subset has another name, or a subset lacks a class.
    """
    remedy = "correct it (custom)"
    table = read_users_table(path, ["image", "subset"], remedy)
    twice = table.loc[table["image"].duplicated(), "image"]
    if len(twice):
        raise InputError(f"{path}: has {twice.iloc[0]} twice; keep one of these rows (custom)")
    own = table["image"].map({} if extra is None else extra)
    other = table[own.notna() & (table["subset"] != own)]
    if len(other):
        image, subset = other[["image", "subset"]].iloc[0]
        raise InputError(
            f"{path}: has {image} in the subset {subset!r}, but it is in the extra test {own[other.index[0]]!r}; "
            f"{remedy}, or remove its row"
        )
    table = table[own.isna()]
    strange = sorted(set(table["subset"]) - {"", *SUBSETS})
    if strange:
        raise InputError(f"{path}: has the subset {strange[0]!r}, which is not one of {', '.join(SUBSETS)}; {remedy}")
    subset = images["image"].map(table.set_index("image")["subset"])
    missing = images.loc[subset.isna(), "image"]
    if len(missing):
        raise InputError(
            f"{path}: {len(missing)} of {counted(len(images), 'image')} have no row (first: {missing.iloc[0]}); add "
            "a row for each, with an empty subset to leave it out (custom)"
        )
    for part, name in _empty(images, subset):
        raise InputError(f"{path}: has no {part} image of class {name!r}; each subset needs one (custom)")
    return pd.DataFrame({"image": images["image"], "subset": subset})


def _by_partition(images: pd.DataFrame, partitions: Mapping[str, str]) -> pd.Series:
    """Return the subset of each row of `images`, from its partition."""
    strange = sorted(set(images["partition"]) - set(partitions.values()))
    if strange:
        raise InputError(
            f"images.csv: has the partition {strange[0]!r}, which is not in dataset.partitions; "
            "run `snakemake --forcerun ingest_dataset`"
        )
    return images["partition"].map({name: use for use, name in partitions.items()})


def _empty(images: pd.DataFrame, subset: pd.Series) -> Iterator[tuple[str, str]]:
    """Yield each pair of a subset and a class without an image in it; `subset` is that of each row of `images`."""
    for part in SUBSETS:
        there = set(images.loc[subset == part, "class"])
        yield from ((part, name) for name in images["class"].unique() if name not in there)


def leakage(name: str, images: pd.DataFrame, sources: pd.DataFrame, split: pd.DataFrame) -> pd.DataFrame:
    """Count images of each tested subset that have an augmented duplicate in training: `LEAKAGE_COLUMNS`.

    `images` has the columns image and class, `sources` image and source, `split` image and subset; `name` is the name
    of the split. There is a row for each subset and class, and a row for each subset with all classes, whose class is
    empty. A row has the number of `images`, of their known `sources`, of images of `unknown` source, and of images
    whose source is `shared` with a training image.

    Raises InputError if sources or split do not list each image once.
    """
    table = images[["image", "class"]].assign(
        source=source_of(images, sources), subset=_by_image(images, split, "subset", "split_dataset")
    )
    trained = set(table.loc[table["subset"] == "train", "source"])
    rows = []
    extra = [name for name in table["subset"].unique() if name not in ("", *SUBSETS)]
    for subset in ("validation", "test", *extra):
        held_out = table[table["subset"] == subset]
        by_class = [(class_name, held_out[held_out["class"] == class_name]) for class_name in images["class"].unique()]
        for class_name, part in [*by_class, ("", held_out)]:
            known = part.loc[part["source"] != "", "source"]
            unknown, shared = len(part) - len(known), int(known.isin(trained).sum())
            rows.append((name, subset, class_name, len(part), known.nunique(), unknown, shared))
    return pd.DataFrame(rows, columns=LEAKAGE_COLUMNS)


def source_of(images: pd.DataFrame, sources: pd.DataFrame) -> pd.Series:
    """Return the source of each row of `images`, empty if unknown. Raises InputError if `sources` lacks an image."""
    return _by_image(images, sources, "source", "find_sources")


def _by_image(images: pd.DataFrame, table: pd.DataFrame, column: str, rule: str) -> pd.Series:
    """Return `column` of `table`, written by the rule `rule`, for each row of `images`."""
    odd = sorted(set(images["image"]) ^ set(table["image"])) + list(table.loc[table["image"].duplicated(), "image"])
    if odd:
        raise InputError(
            f"images.csv: the table of {rule} must list each of its images once (first difference: {odd[0]}); run "
            f"`snakemake --forcerun {rule}`"
        )
    return images["image"].map(table.set_index("image")[column])
