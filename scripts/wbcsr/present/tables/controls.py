"""The table of the controls: whether resolution matters, and whether sharpening alone would do."""

from __future__ import annotations

import pandas as pd

from wbcsr.present.table import Column, Table, interval, number, points, text
from wbcsr.present.tables.accuracies import METRICS
from wbcsr.present.tables.differences import VERDICTS
from wbcsr.present.text import NONE, number_text
from wbcsr.stats.controls import SHARPENING
from wbcsr.study.labels import variant_label

STEPS = {
    "positive": "Is a loss of resolution detected?",
    "ceiling": "Can more resolution help?",
    "primary": "Primary comparison",
    SHARPENING: "Does sharpening alone help?",
}


def controls_table(data: pd.DataFrame) -> Table:
    """A row for each comparison; `data` comes from `wbcsr.stats.controls.controls`."""
    metric = f" in {METRICS[data['metric'].iloc[0]].lower()}" if len(data) else ""
    return Table(
        "controls",
        "Controls",
        "Comparisons that show what the study could find, in an order that was fixed in advance."
        if len(data)
        else "Empty: the configuration names no control.",
        data,
        [
            text("step", "Question", STEPS.__getitem__),
            text("variant", "Variant", variant_label),
            text("against", "Against", variant_label),
            points("metric_difference", f"Difference{metric}"),
            interval("metric_low", "metric_high", "+.1f"),
            points("difference", "Difference in accuracy"),
            interval("low", "high", "+.1f", "95 % CI, accuracy"),
            text("verdict", "Verdict", VERDICTS.__getitem__),
            text("interpretable", "May be interpreted"),
            Column("share", "Share of the gain of Real-ESRGAN, %", _shares),
            number("sources", "Sources", ",.0f"),
        ],
        note="The comparisons are tested one after another, each at 5 %, without correction. One may be interpreted "
        "only if all before it found a higher value. If no loss of resolution is detected, or if the photograph at "
        "twice the size is not better than interpolation, then a missing effect of super-resolution says nothing about "
        "super-resolution. Share: how much of the gain of Real-ESRGAN over bicubic interpolation sharpening gives, "
        "too; not estimable if that gain does not differ from zero. Intervals are as in the table of differences."
        if len(data)
        else "",
        source="results/tables/controls.csv",
    )


def _shares(rows: pd.DataFrame) -> list[str]:
    return [
        _share(row) if row["step"] == SHARPENING else ""
        for row in rows[["step", "share", "share_low", "share_high"]].to_dict("records")
    ]


def _share(row: dict[str, float]) -> str:
    value, low, high = (number_text(100 * row[key], ".0f") for key in ("share", "share_low", "share_high"))
    return f"{value} ({low} to {high})" if value else f"{NONE} (not estimable)"
