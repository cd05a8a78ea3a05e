"""How many images there are, and how many of them are independent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from wbcsr.config import parse_split
from wbcsr.files import read_csv
from wbcsr.study import published
from wbcsr.study.labels import SUBSETS, summary_label
from wbcsr.study.plan import Plan

# What leakage.csv counts of each split, subset and class.
LEAKAGE = ["images", "sources", "unknown", "shared"]
TOTALS = ["total", "study_train", "study_test", "study_total"]


def count_images(images: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """Images of each class, and in the last row their total: class, each use of `Plan.partitions`, and `TOTALS`.

    `images` has a row for each image and the columns partition and class. The study's columns are empty for a class
    that it does not have, and so is their total unless it has all of them.
    """
    uses = list(plan.partitions) if "test" in plan.partitions else ["train", "test"]
    counted = pd.crosstab(images["class"], images["partition"])
    ours = counted.reindex(index=plan.classes, columns=map(plan.partitions.get, uses), fill_value=0).to_numpy()
    theirs = (
        published.counts()
        .reindex([name.upper() if name in plan.published_classes else "" for name in plan.classes])
        .to_numpy()
    )
    by_class = np.column_stack([ours, ours.sum(axis=1), theirs, theirs.sum(axis=1)])
    counts = pd.DataFrame(np.vstack([by_class, by_class.sum(axis=0)]), columns=[*uses, *TOTALS]).astype("Int64")
    counts.insert(0, "class", [*plan.classes, summary_label("total", plan.classes)])
    return counts


def read_leakage(path: str | Path) -> pd.DataFrame:
    """leakage.csv with the folds of each split put together, by split, subset and class: the columns `LEAKAGE`.

    The row of a whole subset has an empty class. Of an extra test, `shared` is the largest number of a fold.
    InputError as in `read_csv`.
    """
    table = read_csv(path, ["split", "subset", "class", *LEAKAGE])
    table["split"] = [parse_split(name)[0] for name in table["split"]]
    # Folds test different sources, so their numbers add up. An extra test is the same in all folds.
    shared_out = table["subset"].isin(SUBSETS)
    keys = ["split", "subset", "class"]
    return pd.concat(
        [
            table[shared_out].groupby(keys, sort=False)[LEAKAGE].sum(),
            table[~shared_out].groupby(keys, sort=False)[LEAKAGE].max(),
        ]
    )


def count_sources(leakage: pd.DataFrame, comparison: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """A row for each split, subset and class, and for all classes, with `LEAKAGE` (of `read_leakage`) and accuracies.

    The row of all classes has an empty class and an `accuracy_<variant>` of `original` and of the enhanced variant, of
    the rows of `comparison` that were trained and tested on it. The study's own row has the split `study`; it is
    there where the study has these classes and variants. `sources` and `shared` are NaN where no source is known.
    """
    variants = list(filter(None, ["original", plan.enhanced]))
    own = comparison[comparison["trained_on"] == comparison["tested_on"]]
    accuracies = own.set_index(["split", "subset", "tested_on"])["accuracy"]
    rows = []
    for split in plan.splits:
        for subset in plan.subsets:
            every = {f"accuracy_{name}": accuracies.get((split, subset, name), np.nan) for name in variants}
            for name in (*plan.classes, ""):
                counts = leakage.loc[(split, subset, name)].to_dict()
                if counts["images"] == counts["unknown"] > 0:
                    counts |= {"sources": np.nan, "shared": np.nan}
                rows.append({"split": split, "subset": subset, "class": name, **counts, **({} if name else every)})
    theirs = {name: published.accuracy("paper", name, name, "validation", plan.published_classes) for name in variants}
    if None not in theirs.values():
        rows.append(
            {
                **{"split": "study", "subset": "validation", "class": "", "unknown": 0},
                **{"images": published.VALIDATION_IMAGES, "sources": published.VALIDATION_SOURCES},
                "shared": published.VALIDATION_SHARED,
                **{f"accuracy_{name}": accuracy for name, accuracy in theirs.items()},
            }
        )
    return pd.DataFrame(rows)
