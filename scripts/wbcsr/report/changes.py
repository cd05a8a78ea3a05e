"""The report's section on cells that changed their label: words and counts, all of them from the two CSV files."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from wbcsr.config import Config, reported_split
from wbcsr.errors import InputError
from wbcsr.explain import DRAWN, KINDS, changes_figure
from wbcsr.explain.changes import COUNTED
from wbcsr.files import read_csv
from wbcsr.present.table import Table, fixed, number
from wbcsr.present.text import listed
from wbcsr.report.pictures import Figures
from wbcsr.report.wording import counted, first_fold, percent
from wbcsr.study.labels import variant_label

CAPTIONS = {"gained": "Gained: wrong on original, right on {label} images.", "lost": "Lost: the other way round."}
# Pixels of the input, in each direction, for one field of the map of ResNet-50's last block.
FIELD = 32


def describe_changes(paths: Iterable[Path], figures: Figures, config: Config) -> dict[str, Any] | None:
    """The section: `sentences`, `table` of counts, `pictures` with their `alt`, `caption` and `source`, and `caveat`.

    `paths` are changes.csv and counts.csv of the rule explain_changes; None where there are none.
    InputError where one of them is missing or not what it should be.
    """
    by_name = {path.name: path for path in paths}
    if not by_name:
        return None
    changes = read_csv(by_name["changes.csv"], ["image", "subset", "class", "kind", "shown"])
    counts = read_csv(
        by_name["counts.csv"], ["first_variant", "first_seed", "second_variant", "second_seed", "subsets", *COUNTED]
    )
    first = counts.iloc[0]
    if int(first["changed"]) != len(changes):
        raise InputError(
            f"{by_name['counts.csv']}: counts {first['changed']} changed labels, but {by_name['changes.csv']} lists "
            f"{len(changes)}; delete both and run again"
        )
    label = variant_label(first["second_variant"])
    split = first_fold(reported_split(config["splits"]), config)
    shown = {kind: int((changes.loc[changes["kind"] == kind, "shown"].astype(str) != "").sum()) for kind in DRAWN}
    return {
        "sentences": [_what_changed(first, split), _yardstick(counts), _shown(first, shown)],
        "table": _table(counts),
        "pictures": [_picture(figures, kind, label, shown[kind]) for kind in DRAWN],
        "caveat": _caveat(config["train"]["input_size"]),
    }


def _what_changed(first: pd.Series, split: str) -> str:
    """How many labels changed, in which direction, and what is left of it in the accuracy."""
    label, images, changed = variant_label(first["second_variant"]), int(first["images"]), int(first["changed"])
    start = f"Of {images:,} {first['subsets']} images of the split {split}, "
    than = f"another label from the classifier of {label} images than from that of original ones"
    if changed == 0:
        return f"{start}none got {than}."
    gained, lost, other = (int(first[kind]) for kind in KINDS)
    net = abs(gained - lost)
    more = f"{counted(net, 'more was', 'more were')} {'gained than lost' if gained > lost else 'lost than gained'}"
    return (
        f"{start}{changed:,} ({percent(changed / images)}) got {than}: {gained:,} gained (wrong on original, right on "
        f"{label}), {lost:,} lost, and {other:,} went from one wrong class to another. "
        f"{more[0].upper() + more[1:] if net else 'As many were gained as lost'}."
    )


def _yardstick(counts: pd.DataFrame) -> str:
    """Whether the variants differ more than two seeds of one variant do, by every pair of which there is one."""
    between = counts[counts["first_variant"] != counts["second_variant"]]
    within = counts[counts["first_variant"] == counts["second_variant"]]
    if within.empty:
        return (
            "Labels also change when the same images are learned again from another seed. With one seed it is not "
            "known how many, so it is not known either whether the variant changed these."
        )
    original = within[within["first_variant"] == "original"]
    shares = {name: rows["changed"] / rows["images"] for name, rows in (("between", between), ("within", within))}
    if shares["between"].min() > shares["within"].max():
        verdict = "The variants differ more than any two seeds of one variant: a hint that not all of this is chance"
    elif shares["between"].max() < shares["within"].min():
        verdict = "The variants differ less than any two seeds of one variant: chance alone would give as many"
    else:
        verdict = "The variants do not differ clearly more than seeds do, so chance may explain these changes"
    seeds = (original["changed"] / original["images"]).mean()
    pairs = f"on average over {counted(len(original), 'pair')}" if len(original) > 1 else "in the one pair there is"
    variants = f"{percent(shares['between'].mean())} between the variants on average over the seeds"
    return (
        f"Labels also change by chance: two trainings on original images that differ in their seed alone disagree on "
        f"{percent(seeds)} ({pairs}), against {variants}. {verdict}."
    )


def _shown(first: pd.Series, shown: dict[str, int]) -> str:
    drawn = {kind: (shown[kind], int(first[kind])) for kind in DRAWN if int(first[kind])}
    if not drawn:
        return ""
    parts = [f"{'all' if few == many else f'{few:,} of the'} {many:,} {kind}" for kind, (few, many) in drawn.items()]
    return (
        f"Drawn are {listed(parts)}: not picked by eye, but in each class those whose probability of the actual class "
        "moved farthest, one of each source. results/changes/changes.csv lists every image."
    )


def _caveat(side: int) -> str:
    fields = math.ceil(side / FIELD)
    return (
        "Grad-CAM shows where in an image a network found what spoke for its label, not why, and not whether it is "
        f"really there. The map has {fields} × {fields} fields, so it names a region and no granule; each is scaled to "
        "its own maximum; and as the two labels differ, the two maps of a cell answer two questions."
    )


def _table(counts: pd.DataFrame) -> Table:
    def classifier(row: dict[str, Any], which: str) -> str:
        return f"{variant_label(row[f'{which}_variant'])}, seed {row[f'{which}_seed']}"

    pairs = [f"{classifier(row, 'first')} → {classifier(row, 'second')}" for row in counts.to_dict("records")]
    return Table(
        "changed",
        "Changed labels",
        "Images with another label, from the first classifier to the second.",
        counts.astype(dict.fromkeys(COUNTED, int)),
        [
            fixed("pair", "Classifiers", pairs, style="text"),
            *(number(key, key.capitalize(), ",.0f") for key in COUNTED),
        ],
        source="results/changes/counts.csv",
    )


def _picture(figures: Figures, kind: str, label: str, rows: int) -> dict[str, Any]:
    caption = CAPTIONS[kind].format(label=label)
    if rows:
        caption += (
            " Bright, by Grad-CAM, is where the network found what spoke for the class that it predicted; the line "
            "encloses what is above half of the maximum."
        )
    picture = figures.picture(changes_figure(kind), caption)
    alt = f"{counted(rows, 'cell')} in rows: image, Grad-CAM and prediction on original and on {label} images."
    return {**picture, "alt": alt if rows else f"A notice that no cell was {kind}."}
