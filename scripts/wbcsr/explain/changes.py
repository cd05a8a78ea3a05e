"""The images for which two classifiers predict different classes, and the selection that is shown."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from wbcsr.errors import InputError, how_to_regenerate
from wbcsr.explain import KINDS
from wbcsr.files import read_csv
from wbcsr.text import counted

# With fewer test images than this, validation images are included.
FEW = 500
COUNTED = ["images", "changed", *KINDS]


def compared_images(split: Path) -> pd.DataFrame:
    """The images that are compared, in the order of `split`: the columns image and subset.

    These are the test images; if there are fewer than `FEW`, also the validation images. Raises InputError if the split
    has no test image.
    """
    table = read_csv(split, ["image", "subset"])[["image", "subset"]]
    tested = int((table["subset"] == "test").sum())
    if tested == 0:
        raise InputError(f"{split}: has no test image; give the data set more images")
    subsets = ["test"] if tested >= FEW else ["test", "validation"]
    return table[table["subset"].isin(subsets)].reset_index(drop=True)


def read_predictions(path: Path, images: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """The predictions for `images` (of `compared_images`), in their order.

    The columns are image, subset, class, predicted, `probability` (of the actual class) and `confidence` (the
    probability of the predicted class). Raises InputError if an image is missing or listed twice, or a class or
    probability is invalid.
    """
    table = read_csv(path, ["image", "class", "predicted", *classes])
    twice = table.loc[table["image"].duplicated(), "image"]
    if len(twice):
        raise InputError(f"{path}: has {twice.iloc[0]} twice; {how_to_regenerate(path)}")
    missing = images.loc[~images["image"].isin(table["image"]), "image"]
    if len(missing):
        raise InputError(
            f"{path}: lacks {len(missing)} of {counted(len(images), 'image')} (first: {missing.iloc[0]}); "
            f"{how_to_regenerate(path)}"
        )
    # `merge` is not possible: a class may have the name of a column of `images`.
    found = table.set_index("image").loc[images["image"]].reset_index()
    unknown = sorted((set(found["class"]) | set(found["predicted"])) - set(classes))
    if unknown:
        raise InputError(
            f"{path}: has the class '{unknown[0]}', which dataset.classes lacks; {how_to_regenerate(path)}"
        )
    numbers = {name: number for number, name in enumerate(classes)}
    try:
        probabilities = found[list(classes)].to_numpy(np.float64)
    except ValueError as error:
        raise InputError(
            f"{path}: has a probability that is not a number ({error}); {how_to_regenerate(path)}"
        ) from error
    rows = np.arange(len(found))
    return (
        images[["image", "subset"]]
        .reset_index(drop=True)
        .assign(
            **{"class": found["class"], "predicted": found["predicted"]},
            probability=probabilities[rows, found["class"].map(numbers)],
            confidence=probabilities[rows, found["predicted"].map(numbers)],
        )
    )


def list_changes(first: pd.DataFrame, second: pd.DataFrame, names: tuple[str, str]) -> pd.DataFrame:
    """The images whose predicted class differs between two classifiers, in their order.

    `first` and `second` are tables of `read_predictions` for the same images. The columns are image, subset, class,
    then predicted_, probability_ and confidence_ with each of `names`, and kind, one of `KINDS`. Raises InputError if
    the two disagree on an image's actual class.
    """
    facts = ["predicted", "probability", "confidence"]
    both = first.merge(second, on=["image", "subset"], suffixes=tuple(f"_{name}" for name in names))
    odd = both.loc[both[f"class_{names[0]}"] != both[f"class_{names[1]}"], "image"]
    if len(odd):
        raise InputError(f"predictions: two files give {odd.iloc[0]} different classes; delete both and predict again")
    both["class"] = both[f"class_{names[0]}"]
    predicted = [both[f"predicted_{name}"] for name in names]
    changed = both[predicted[0] != predicted[1]]
    right = [changed[f"predicted_{name}"] == changed["class"] for name in names]
    kinds = np.select([right[1], right[0]], ["gained", "lost"], "other")
    columns = ["image", "subset", "class", *(f"{fact}_{name}" for fact in facts for name in names)]
    return changed[columns].assign(kind=kinds).reset_index(drop=True)


def count_changes(first: pd.DataFrame, second: pd.DataFrame) -> dict[str, int]:
    """How many images two classifiers label differently: `images` (compared), `changed`, and each of `KINDS`."""
    changes = list_changes(first, second, ("first", "second"))
    kinds = {kind: int((changes["kind"] == kind).sum()) for kind in KINDS}
    return {"images": len(first), "changed": len(changes), **kinds}


def count_pairs(
    original: dict[int, pd.DataFrame], enhanced: dict[int, pd.DataFrame], names: tuple[str, str]
) -> pd.DataFrame:
    """Counts of changed predictions between variants and, for comparison, between seeds of one variant.

    `original` and `enhanced` hold each seed's predictions (tables of `read_predictions`); `names` are the two variants.
    The table has a row for each seed of the two variants, then one for each pair of seeds of one variant. The columns
    are first_variant, first_seed, second_variant, second_seed, subsets (of the images), images, changed, gained, lost
    and other. Gained counts images that the second of a pair classifies correctly and the first does not.
    """
    pairs = [((names[0], seed), (names[1], seed)) for seed in original]
    pairs += [((name, one), (name, other)) for name in names for one, other in itertools.combinations(original, 2)]
    predictions = {names[0]: original, names[1]: enhanced}

    def rows() -> Iterator[dict[str, object]]:
        for (first, one), (second, other) in pairs:
            named = {"first_variant": first, "first_seed": one, "second_variant": second, "second_seed": other}
            subsets = " and ".join(predictions[first][one]["subset"].unique())
            yield named | {"subsets": subsets} | count_changes(predictions[first][one], predictions[second][other])

    return pd.DataFrame(rows())


def choose(changes: pd.DataFrame, classes: Sequence[str], number: int) -> pd.DataFrame:
    """Select at most `number` rows of `changes`: of one kind, named original and enhanced, with a column `source`.

    `changes` is a table of `list_changes`. All images of a source show the same cell, so only the image with the
    largest change is taken from each source; images of unknown source are all kept. In each class the images are ranked
    by the absolute change in the probability of the actual class, largest first; ties are ordered by name. The first
    image of every class is taken before any second one. If not all images of one rank fit, those with the largest
    change are taken. The rows are ordered by `classes`, then by rank.
    """
    moved = (changes["probability_enhanced"] - changes["probability_original"]).abs()
    order = changes["class"].map({name: position for position, name in enumerate(classes)})
    ranked = changes.assign(moved=moved, order=order).sort_values(["moved", "image"], ascending=[False, True])
    ranked = ranked[(ranked["source"] == "") | ~ranked.duplicated("source")]
    ranked["rank"] = ranked.groupby("class").cumcount()
    taken = ranked.sort_values(["rank", "moved", "image"], ascending=[True, False, True]).head(number)
    return taken.sort_values(["order", "rank"])[list(changes.columns)].reset_index(drop=True)
