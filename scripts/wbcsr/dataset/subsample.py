"""A small study of many sources: which images stand for the whole data set."""

from __future__ import annotations

import logging

import pandas as pd

from wbcsr.dataset.split import source_of
from wbcsr.errors import InputError
from wbcsr.text import counted

log = logging.getLogger(__name__)


def subsample_images(
    images: pd.DataFrame, sources: pd.DataFrame, per_class: int | None, per_source: int | None = None
) -> pd.DataFrame:
    """At most `per_class` images of each class and `per_source` of each source: the column image, as in `images`.

    `images` has the columns image and class, `sources` image and source. Without `per_class`, each class has as many
    images as the smallest one can have. In each class every source gives one image before any gives a second one;
    sources and their images are taken in the order of their names. A source of several classes is given to that of
    them which has the fewest sources so far. What was chosen of each class is logged.

    InputError where a class has no image of a known source of its own.
    """
    known = images.assign(source=source_of(images, sources)).query("source != ''").sort_values("image")
    classes = known.groupby("source")["class"].unique()
    own = dict.fromkeys(images["class"].unique(), 0)
    owner = {}
    # Those without a choice first.
    for source in sorted(classes.index, key=lambda source: (len(classes[source]), source)):
        owner[source] = min(sorted(classes[source]), key=lambda name: own[name])
        own[owner[source]] += 1
    for name, number in own.items():
        if number == 0:
            raise InputError(
                f"class {name!r}: no image has a known source of its own to choose by; see results/dataset/sources.csv "
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
            "%s: %s of %s chosen, at most %d of a source",
            name,
            counted(len(part), "image"),
            counted(part["source"].nunique(), "source"),
            part["source"].value_counts().max(),
        )
    return images.loc[images["image"].isin(chosen["image"]), ["image"]]
