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
from wbcsr.report.numbers import counted, first_fold, percent, share_of
from wbcsr.report.pictures import Figures
from wbcsr.study.labels import variant_label

CAPTIONS = {
    "gained": "Gained: wrong on original, correct on {label} images.",
    "lost": "Lost: correct on original, wrong on {label} images.",
}
# Pixels of the input, in each direction, for one field of the map of a classifier's last convolutions.
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
        "caveat": _caveat(math.ceil(config["train"]["input_size"] / FIELD)),
    }


def _what_changed(first: pd.Series, split: str) -> str:
    """How many labels changed, and in which direction."""
    label, images, changed = variant_label(first["second_variant"]), int(first["images"]), int(first["changed"])
    gained, lost, other = (int(first[kind]) for kind in KINDS)
    return (
        f"The classifiers of original and of {label} images disagree on {share_of(changed / images, images)} of the "
        f"{images:,} {first['subsets']} images of the split {split}: {gained:,} gained (wrong on original, correct on "
        f"{label}), {lost:,} lost, {other:,} changed from one wrong class to another."
    )


def _yardstick(counts: pd.DataFrame) -> str:
    """Whether the variants differ more than two seeds of one variant do, by every pair of which there is one."""
    shares = counts["changed"] / counts["images"]
    same = counts["first_variant"] == counts["second_variant"]
    between, within = shares[~same], shares[same]
    if within.empty:
        return (
            "Another seed changes labels, too. With one seed it is not known how many, and so not whether the variant "
            "changed these."
        )
    if between.min() > within.max():
        verdict = "The variants differ more than any two seeds of one variant, so chance does not explain all of this"
    elif between.max() < within.min():
        verdict = "The variants differ less than any two seeds of one variant, so chance alone explains as many"
    else:
        verdict = "The variants do not differ clearly more than seeds do, so chance may explain these changes"
    original = shares[same & (counts["first_variant"] == "original")]
    return (
        f"Two trainings on original images with different seeds disagree on {percent(original.mean())} of the images "
        f"(mean of {counted(len(original), 'pair')}), the variants on {percent(between.mean())}. {verdict}."
    )


def _shown(first: pd.Series, shown: dict[str, int]) -> str:
    parts = [f"{shown[kind]} of {int(first[kind]):,} {kind}" for kind in DRAWN if int(first[kind])]
    if not parts:
        return ""
    return (
        f"The figures show {listed(parts)}: in each class those whose probability of the actual class changed most, "
        "one of each source. results/changes/changes.csv lists every image."
    )


def _caveat(fields: int) -> str:
    return (
        "Grad-CAM shows which region of an image raised the score of the predicted class, not why. The map has "
        f"{fields}\u00a0×\u00a0{fields} fields, so it names a region and not a granule; each map is scaled to its own "
        "maximum."
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
            " Bright regions raised the score of the predicted class (Grad-CAM); the line encloses what is above half "
            "of the maximum."
        )
    picture = figures.picture(changes_figure(kind), caption)
    alt = f"{counted(rows, 'cell')} in rows: image, Grad-CAM and prediction on original and on {label} images."
    return {**picture, "alt": alt if rows else f"A notice that no cell was {kind}."}
