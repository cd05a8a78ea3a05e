"""Which photographs a fine-tuned network may see, and their pixels."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wbcsr import imaging
from wbcsr.dataset.archive import open_archive
from wbcsr.dataset.sources import photograph_entries
from wbcsr.errors import InputError
from wbcsr.files import read_csv
from wbcsr.finetune import RATIO
from wbcsr.text import counted

log = logging.getLogger(__name__)

# The photographs of a fine-tuning; `use` is train or validation.
COLUMNS = ["photograph", "source", "use"]


def usable_photographs(sources: pd.DataFrame, split: pd.DataFrame) -> pd.DataFrame:
    """The photographs (columns photograph, source) whose images a split uses for training and for nothing else.

    `sources` has image, source and photograph, `split` has image and subset. A photograph is left out if it or its
    source has an image in any other subset (validation, test or an extra test). Overlapping photographs have the same
    source, so no photograph that is left out shares a cell with one that is returned. A photograph without training
    images is not used: nothing is known about what it overlaps.
    """
    table = sources.merge(split[["image", "subset"]], on="image", validate="one_to_one")
    held_out = table[~table["subset"].isin(["train", ""])]
    training = table[(table["subset"] == "train") & (table["photograph"] != "") & (table["source"] != "")]
    apart = ~training["photograph"].isin(held_out["photograph"]) & ~training["source"].isin(held_out["source"])
    return training.loc[apart, ["photograph", "source"]].drop_duplicates().sort_values("photograph", ignore_index=True)


def deal(usable: pd.DataFrame, validation: int, seed: int) -> pd.DataFrame:
    """Divide the photographs of `usable_photographs` between training and validation by source: `COLUMNS`.

    Whole sources are taken at random until `validation` photographs are for validation, at most a third of the sources.
    """
    order = np.random.default_rng(seed).permutation(sorted(usable["source"].unique()))
    counts = usable["source"].value_counts()
    taken: list[str] = []
    for source in order[: len(order) // 3]:
        if counts[taken].sum() >= validation:
            break
        taken.append(source)
    use = np.where(usable["source"].isin(taken), "validation", "train")
    return usable.assign(use=use)[COLUMNS]


def choose_photographs(sources_csv: Path, split_csv: Path, validation: int, seed: int) -> pd.DataFrame:
    """`deal` of the `usable_photographs` of a split.

    Raises InputError if the source of an image for validation or testing is not known, because its photograph could
    then be used; extra tests may show other cells, so the log only warns of them. Also if there are fewer than three
    sources.
    """
    sources, split = read_csv(sources_csv, ["image", "source", "photograph"]), read_csv(split_csv, ["image", "subset"])
    unknown = split[split["image"].isin(sources.loc[sources["source"] == "", "image"])]
    own = unknown.loc[unknown["subset"].isin(["validation", "test"]), "image"]
    if len(own):
        raise InputError(
            f"{split_csv}: no source is known for {counted(len(own), 'image')} for validation or testing (first: "
            f"{own.iloc[0]}), so the network could be fine-tuned on their photographs; leave their subset empty, or "
            "use the split by_source"
        )
    extra = unknown.loc[~unknown["subset"].isin(["train", ""]), "image"]
    if len(extra):
        log.warning(
            "%s: no source is known for %s of extra tests (first: %s); the network may be fine-tuned on their "
            "photographs, if the archive has them",
            split_csv, counted(len(extra), "image"), extra.iloc[0],
        )  # fmt: skip
    usable = usable_photographs(sources, split)
    if usable["source"].nunique() < 3:
        raise InputError(
            f"{split_csv}: only {usable['source'].nunique()} sources have training images alone, and fine-tuning needs "
            "at least three photographs that the classifier is not validated or tested on; use the split by_source, "
            "which keeps all images of a photograph in one subset"
        )
    return deal(usable, validation, seed)


def unseen_photographs(sources_csv: Path, seen_csv: Path) -> set[str]:
    """The photographs whose source is known and has no photograph in `seen_csv` (`choose_photographs`)."""
    sources = read_csv(sources_csv, ["source", "photograph"])
    known = sources[(sources["photograph"] != "") & (sources["source"] != "")]
    seen = known["source"].isin(read_csv(seen_csv, ["source"])["source"])
    return {*known["photograph"]} - {*known.loc[seen, "photograph"]}


def read_photographs(archive: Path, dataset: Mapping[str, Any], names: Sequence[str]) -> list[np.ndarray]:
    """The pixels (H, W, 3) uint8 of photographs by name; an odd last row or column is cut off.

    `dataset` is that section of the configuration. Raises InputError if a photograph is missing or cannot be read.
    """
    found = []
    with open_archive(archive, dict(dataset["limits"]), dataset["links"]) as contents:
        entries = photograph_entries(contents, str(dataset["photographs"]))
        for name in names:
            if name not in entries:
                raise InputError(
                    f"{archive}: has no photograph {name}, which sources.csv names; run `snakemake --forcerun "
                    "find_sources`"
                )
            pixels = imaging.decode_as_configured(contents.read(entries[name]), entries[name], dataset)
            pixels = imaging.to_rgb8(pixels)
            height, width = (side - side % RATIO for side in pixels.shape[:2])
            found.append(np.ascontiguousarray(pixels[:height, :width]))
    return found
