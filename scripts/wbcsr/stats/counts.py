"""The number of images, and the number of independent ones among them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from wbcsr.config import parse_split
from wbcsr.files import read_csv
from wbcsr.study import published
from wbcsr.study.labels import SUBSETS, summary_label
from wbcsr.study.plan import Plan

# The columns of leakage.csv that count, for each split, subset and class.
LEAKAGE = ["images", "sources", "unknown", "shared"]
TOTALS = ["total", "study_train", "study_test", "study_total"]


def count_images(images: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """The number of images of each class, and their total in the last row.

    The columns are class, each use in `Plan.partitions`, and `TOTALS`. `images` has a row for each image and the
    columns partition and class. The study's columns are empty for a class that the study does not have; their total is
    empty unless the study has all classes.
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
    """The columns `LEAKAGE` of leakage.csv by split, subset and class; the folds of each split are added up.

    The row of a whole subset has an empty class. For an extra test, which is the same in all folds, `shared` is the
    largest number of a fold. Raises InputError as `read_csv` does.
    """
    table = read_csv(path, ["split", "subset", "class", *LEAKAGE])
    table["split"] = [parse_split(name)[0] for name in table["split"]]
    # Folds have different test sources, so their numbers add up. An extra test is the same in all folds.
    divided = table["subset"].isin(SUBSETS)
    keys = ["split", "subset", "class"]
    return pd.concat(
        [
            table[divided].groupby(keys, sort=False)[LEAKAGE].sum(),
            table[~divided].groupby(keys, sort=False)[LEAKAGE].max(),
        ]
    )


def count_sources(leakage: pd.DataFrame, comparison: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """A row for each split, subset and class, and for all classes together, with `LEAKAGE` and accuracies.

    The `leakage` is that of `read_leakage`. The row of all classes has an empty class, and `accuracy_<variant>` for
    `original` and for the enhanced variant; these accuracies are those of the rows of `comparison` that were trained
    and tested on the variant. A last row holds the study's own numbers, with the split `study`, if the study has these
    classes and variants. `sources` and `shared` are NaN if no source is known.
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
