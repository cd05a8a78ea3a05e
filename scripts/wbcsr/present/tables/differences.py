"""Tables of differences: between arms, and for each class."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from wbcsr.present.table import Column, Table, interval, number, percent, points, text
from wbcsr.present.tables.accuracies import subset_title
from wbcsr.present.text import listed, number_text, p_texts
from wbcsr.stats.intervals import LEAST_DIFFERING, LEAST_SOURCES, Reason
from wbcsr.study import published
from wbcsr.study.labels import MEASURES, NO_ENHANCED, QUESTIONS, arm_label, class_labels, variant_label
from wbcsr.study.plan import Plan


def _p(key: str, heading: str) -> Column:
    return Column(key, heading, lambda rows: p_texts(rows[key]))


SUBSET = [text("split", "Split"), text("subset", "Subset")]
COMPARED = [
    number("images", "Images", ",.0f"),
    Column("sources", "Sources", lambda rows: [number_text(n, ",.0f") or "not known" for n in rows["sources"]]),
    points("difference", "Difference"),
    interval("low", "high", "+.1f"),
    _p("p_sources", "p"),
    _p("p_holm", "p, Holm"),
    _p("p_mcnemar", "p, McNemar"),
]


def differences_table(data: pd.DataFrame) -> Table:
    """A row for each comparison; `data` is of `wbcsr.stats.differences.differences`, or some rows of it."""
    return Table(
        "differences",
        "Differences",
        f"Accuracy of an arm minus that of another on the same images{_where(data)}.",
        data,
        [
            *SUBSET,
            text("question", "Question", QUESTIONS.__getitem__),
            _arm("trained_on", "tested_on", "Arm"),
            _arm("against_trained_on", "against_tested_on", "Against"),
            *COMPARED,
        ],
        note=_note(data, "comparisons"),
        blocks=("split", "subset", "question"),
        title_of=lambda row: QUESTIONS[row["question"]],
        source="results/tables/differences.csv",
    )


def recalls_table(data: pd.DataFrame, plan: Plan) -> Table:
    """A row for each class, and for the study's pair; `data` is of `wbcsr.stats.differences.recalls`."""
    labels = dict(zip(plan.classes, class_labels(plan.classes), strict=True))
    pair = published.pair(plan.classes)
    if pair:
        labels[" and ".join(pair)] = " and ".join(labels[name] for name in pair)
    return Table(
        "recalls",
        "Recalls",
        f"What {variant_label(plan.enhanced)} changes for each class{_where(data)}." if plan.enhanced else NO_ENHANCED,
        data,
        [
            *SUBSET,
            text("measure", "Measure", MEASURES.__getitem__),
            text("of", "Class", labels.__getitem__),
            percent("share", variant_label(plan.enhanced or "original")),
            percent("against", "Original"),
            *COMPARED,
        ],
        note="Recall: share of a class's images that were classified correctly. Pair accuracy: the same of the images "
        "of both classes. Pairwise confusion: share of these images that were classified as the other of the two. "
        + _note(data, "rows"),
        blocks=("split", "subset", "measure"),
        title_of=lambda row: MEASURES[row["measure"]],
        source="results/tables/recalls.csv",
    )


def why_none(rows: pd.DataFrame) -> str:
    """Why there is no interval in these rows, of one `reason` and number of sources, as a clause."""
    first = rows.iloc[0]
    # Where no source is known, every image counts as one.
    sources = f"{first['images'] if pd.isna(first['sources']) else first['sources']:,.0f}"
    if first["reason"] == Reason.LONE_SOURCES:
        return "no class has two sources"
    if first["reason"] == Reason.FEW_SOURCES:
        worth = first["effective_sources"]
        return f"{sources} sources are worth {worth:.1f} equally large ones; an interval needs {LEAST_SOURCES}"
    numbers = listed([f"{number:,.0f}" for number in sorted(set(rows["differing"]))])
    only = "only " if first["reason"] == Reason.ALIKE else ""
    return f"the arms differ on {only}{numbers} of {sources} sources; an interval needs {LEAST_DIFFERING}"


def _arm(trained_on: str, tested_on: str, heading: str) -> Column:
    def show(rows: pd.DataFrame) -> Sequence[str]:
        return [arm_label(*names) for names in zip(rows[trained_on], rows[tested_on], strict=True)]

    return Column(trained_on, heading, show, style="text")


def _where(data: pd.DataFrame) -> str:
    """Which images all rows are of; empty where these differ."""
    title = subset_title(data.iloc[0]) if len(data[["split", "subset"]].drop_duplicates()) == 1 else ""
    return f": {title[0].lower()}{title[1:]}" if title else ""


def _note(data: pd.DataFrame, rows: str) -> str:
    note = (
        "Differences are means over the seeds. 95 % CI: over sources, none where too few differ. p: two-sided, the two "
        f"arms exchanged source by source. Holm: corrected for all {rows} of the same split and subset. McNemar: of "
        "the first seed; it takes images for independent, so it is too small where they share sources."
    )
    if data["sources"].isna().any():
        note += " No source is known, so every image counts as a source of its own."
    without = data[data["reason"] != ""].fillna({"sources": data["images"]})
    blocks = without.groupby(["reason", "sources", "effective_sources"])
    reasons = [why_none(block) for _, block in blocks]
    return f"{note} No interval: {'; '.join(reasons)}." if reasons else note
