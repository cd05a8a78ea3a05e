"""Compare the published method of making the study's images with the sources that were found.

The notebook augment_data.ipynb of github.com/dhruvp/wbc-classification uses the photographs for which labels.csv gives
one class. It splits them 80:20 with scikit-learn's `train_test_split` (random state 10), and makes the images of TRAIN
from the first part and those of TEST from the second, by class, with equally many images of each photograph.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.model_selection import train_test_split

from wbcsr.dataset.archive import open_archive
from wbcsr.dataset.photographs import categories, number_of
from wbcsr.dataset.sources import common_size, photograph_fields
from wbcsr.errors import InputError
from wbcsr.files import read_csv, write_csv
from wbcsr.text import counted

log = logging.getLogger(__name__)

COLUMNS = ["image", "source", "photographs", "agrees"]
# From the authors' notebook.
_TEST_SHARE, _RANDOM_STATE = 0.2, 10


def made_from(labelled: Sequence[tuple[str, str]], sides: tuple[str, str]) -> dict[str, tuple[str, str]]:
    """Return photograph → (partition, class) of the images that were made from it.

    `labelled` are photographs with their classes, in the order of labels.csv; `sides` are the names of the training and
    the test partition.
    """
    train, test = train_test_split(list(labelled), test_size=_TEST_SHARE, random_state=_RANDOM_STATE)
    return {name: (side, label) for side, part in zip(sides, (train, test), strict=True) for name, label in part}


def candidates(
    images: pd.DataFrame, joined: Mapping[str, Sequence[str]], rule: Mapping[str, tuple[str, str]]
) -> list[list[str]]:
    """Return, for each image, the photographs of its source that the rule allows: those of its partition and class.

    `images` has the columns partition, class and source; `joined` maps each source to its photographs.
    """
    return [
        [name for name in joined.get(source, ()) if rule.get(name) == (partition, label)]
        for partition, label, source in images[["partition", "class", "source"]].itertuples(index=False)
    ]


def check_making(
    images_csv: Path, sources_csv: Path, archive: Path, dataset: dict[str, Any], output: Path, threads: int
) -> dict[str, Any]:
    """Write `output` (`COLUMNS`): each image, its source, the source's photographs that the rule allows, and agreement.

    `dataset` is the section of the configuration. A source is one photograph, or several that overlap; their names are
    separated by blanks. Returns the numbers of images, of images with a source, and of images that agree with the rule.
    Raises InputError if the archive has no photographs or no labels.csv next to them.
    """
    images = read_csv(images_csv, ["image", "partition", "class", "width", "height"])
    images = images.merge(read_csv(sources_csv, ["image", "source"]), on="image", validate="one_to_one")
    folder, partitions = dataset["photographs"], dataset["partitions"]
    if not folder or not partitions:
        raise InputError(
            "configuration: the check of how the study's images were made needs dataset.photographs and "
            "dataset.partitions; set both"
        )
    # The rule says nothing of other partitions.
    sides = (partitions["train"], partitions["test"])
    images = images[images["partition"].isin(sides)].reset_index(drop=True)
    with open_archive(archive, dataset["limits"], dataset["links"]) as contents:
        names, _, field = photograph_fields(contents, dataset, common_size(images), threads)
        by_number = {number_of(name): name for name in names}
        labelled = [
            (by_number[number], label)
            for number, label in categories(contents, dataset, "correct dataset.photographs")
            if number in by_number and label and "," not in label
        ]
    rule = made_from(labelled, sides)
    joined: dict[str, list[str]] = {}
    for name, first in zip(names, field, strict=True):
        joined.setdefault(names[first], []).append(name)
    allowed = candidates(images, joined, rule)
    images["photographs"] = [" ".join(each) for each in allowed]
    images["agrees"] = [bool(each) for each in allowed]
    write_csv(output, images[COLUMNS])
    known = images[images["source"] != ""]
    agree = int(known["agrees"].sum())
    log.info("%d of %s with a source agree with the rule", agree, counted(len(known), "image"))
    for image, source in known.loc[~known["agrees"], ["image", "source"]].itertuples(index=False):
        log.warning("%s: according to the rule, it was not made from %s", image, source)
    return {"images": len(images), "with_source": len(known), "agree": agree}
