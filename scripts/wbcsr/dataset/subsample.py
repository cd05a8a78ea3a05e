"""A small study of many sources: which images stand for the whole data set."""

from __future__ import annotations

import pandas as pd

from wbcsr.dataset.split import source_of
from wbcsr.errors import InputError


def subsample_images(images: pd.DataFrame, sources: pd.DataFrame, per_class: int) -> pd.DataFrame:
    """At most `per_class` images of each class, of as many sources as can be: the column image, in order of `images`.

    `images` has the columns image and class, `sources` image and source. In each class every source gives one
    image before any gives a second one; sources and their images are taken in the order of their names. A source of
    several classes is given to that of them which has the fewest sources so far.

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
    turn = known.groupby("source").cumcount()
    chosen = known.assign(turn=turn).sort_values(["turn", "source"]).groupby("class").head(per_class)
    return images.loc[images["image"].isin(chosen["image"]), ["image"]]
