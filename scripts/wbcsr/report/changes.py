"""The report's section on cells that changed their label: counts, all of them from the two CSV files, and figures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from wbcsr.config import Config
from wbcsr.errors import InputError
from wbcsr.explain import DRAWN, LEAST_FIELDS, changes_figure, fields
from wbcsr.explain.changes import COUNTED
from wbcsr.files import read_csv
from wbcsr.present.table import Table, each, number
from wbcsr.report.numbers import counted, first_fold
from wbcsr.report.pictures import Figures
from wbcsr.study.labels import variant_label

CAPTIONS = {
    "gained": "Gained: wrong on original, correct on {label} images.",
    "lost": "Lost: correct on original, wrong on {label} images.",
}


def section(paths: Iterable[Path], figures: Figures, config: Config) -> dict[str, Any] | None:
    """The numbers, table and pictures of `changes.html.j2`.

    `paths` are changes.csv and counts.csv of the rule explain_changes; None if there are none. Raises InputError if one
    of them lacks a column, or if they do not agree.
    """
    by_name = {path.name: path for path in paths}
    if not by_name:
        return None
    changes = read_csv(by_name["changes.csv"], ["image", "subset", "class", "kind", "shown"])
    counts = read_csv(
        by_name["counts.csv"], ["first_variant", "first_seed", "second_variant", "second_seed", "subsets", *COUNTED]
    ).astype(dict.fromkeys(COUNTED, int))
    first = counts.iloc[0]
    if first["changed"] != len(changes):
        raise InputError(
            f"{by_name['counts.csv']}: counts {first['changed']} changed labels, but {by_name['changes.csv']} lists "
            f"{len(changes)}; delete both and run again"
        )
    shown = changes[changes["shown"].astype(str) != ""].groupby("kind").size().reindex(DRAWN, fill_value=0)
    count = fields(config["train"]["input_size"])
    has_maps = count >= LEAST_FIELDS
    return {
        "first": first.to_dict(),
        "split": first_fold(config["evaluation"]["primary"]["split"], config),
        "yardstick": yardstick(counts),
        "shown": shown.to_dict(),
        "table": _table(counts),
        "pictures": [
            _picture(figures, kind, variant_label(first["second_variant"]), shown[kind], has_maps) for kind in DRAWN
        ],
        "fields": count,
        "has_maps": has_maps,
        "least_fields": LEAST_FIELDS,
    }


def yardstick(counts: pd.DataFrame) -> dict[str, Any] | None:
    """Whether the variants differ more than two seeds of one variant do; None with one seed.

    `original` is the mean share of labels that two seeds change on original images, of so many `pairs`, and `between`
    that which two variants change. `order` is more or less if every pair of variants lies on one side of every pair of
    seeds, else empty.
    """
    shares = counts["changed"] / counts["images"]
    same = counts["first_variant"] == counts["second_variant"]
    between, within = shares[~same], shares[same]
    if within.empty:
        return None
    original = shares[same & (counts["first_variant"] == "original")]
    order = "more" if between.min() > within.max() else "less" if between.max() < within.min() else ""
    return {"original": original.mean(), "pairs": len(original), "between": between.mean(), "order": order}


def _table(counts: pd.DataFrame) -> Table:
    def pair(row: dict[str, Any]) -> str:
        return " → ".join(
            f"{variant_label(row[f'{of}_variant'])}, seed {row[f'{of}_seed']}" for of in ("first", "second")
        )

    return Table(
        "changed",
        "Changed labels",
        "Images with another label, from the first classifier to the second.",
        counts,
        [each("pair", "Classifiers", pair, style="text"), *(number(key, key.capitalize(), ",.0f") for key in COUNTED)],
        source="results/changes/counts.csv",
    )


def _picture(figures: Figures, kind: str, label: str, rows: int, has_maps: bool) -> dict[str, Any]:
    caption, alt = CAPTIONS[kind].format(label=label), f"A notice that no cell was {kind}."
    if rows:
        if has_maps:
            caption += (
                " Bright regions raised the score of the predicted class (Grad-CAM); the line encloses what is above "
                "half of the maximum."
            )
        seen = "image, Grad-CAM and prediction" if has_maps else "image and prediction"
        alt = f"{counted(rows, 'cell')} in rows: {seen} on original and on {label} images."
    return {**figures.picture(changes_figure(kind), caption), "alt": alt}
