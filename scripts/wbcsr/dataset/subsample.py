"""Choose images of many sources for a small study of the data set."""

from __future__ import annotations

import logging
from collections.abc import Collection

import pandas as pd

from wbcsr.dataset.split import source_of
from wbcsr.errors import InputError
from wbcsr.text import counted

log = logging.getLogger(__name__)


def subsample_images(
    images: pd.DataFrame,
    sources: pd.DataFrame,
    per_class: int | None,
    per_source: int | None = None,
    extra_tests: Collection[str] = (),
) -> pd.DataFrame:
    """Choose at most `per_class` images of each class and `per_source` of each source; returns the column image.

    `images` has the columns image, partition and class, `sources` image and source; the result keeps the order of
    `images`. All images of the partitions `extra_tests` are chosen, and these images count for no limit.
    Without `per_class`, each class has as many images as the smallest class offers. In each class, every source gives
    one image before any source gives a second one; sources and their images are used in the order of their names. A
    source with several classes is assigned to the class that has the fewest sources so far. The numbers chosen are
    logged.

    Raises InputError if a class has no image of a known source of its own.
    """
    extra = images["partition"].isin(extra_tests)
    main = images.assign(source=source_of(images, sources))[~extra]
    known = main[main["source"] != ""].sort_values("image")
    classes = known.groupby("source")["class"].unique()
    own = dict.fromkeys(main["class"].unique(), 0)
    owner = {}
    # Sources of a single class first.
    for source in sorted(classes.index, key=lambda source: (len(classes[source]), source)):
        owner[source] = min(sorted(classes[source]), key=lambda name: own[name])
        own[owner[source]] += 1
    for name, number in own.items():
        if number == 0:
            raise InputError(
                f"class {name!r}: none of its images has a known source of its own; see results/dataset/sources.csv "
                "and the configuration's section sources"
            )
    known = known[known["source"].map(owner) == known["class"]]
    offered = known.assign(turn=known.groupby("source").cumcount()).sort_values(["turn", "source"])
    if per_source is not None:
        offered = offered[offered["turn"] < per_source]
    if per_class is None:
        per_class = int(offered["class"].value_counts().min())
    chosen = offered.groupby("class").head(per_class)
    for name, part in chosen.groupby("class"):
        log.info(
            "%s: chose %s of %s, at most %d per source",
            name,
            counted(len(part), "image"),
            counted(part["source"].nunique(), "source"),
            part["source"].value_counts().max(),
        )
    if extra.any():
        log.info("extra tests: all %s", counted(int(extra.sum()), "image"))
    return images.loc[extra | images["image"].isin(chosen["image"]), ["image"]]
