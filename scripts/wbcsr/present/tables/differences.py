"""Tables of differences: between arms, and for each class."""

from __future__ import annotations

import pandas as pd

from wbcsr.present.table import Column, Table, each, interval, number, percent, points, text
from wbcsr.present.tables.accuracies import METRICS, SOURCES, SUBSET, arm, subset_title
from wbcsr.present.text import listed, number_text, p_text
from wbcsr.stats.intervals import LEAST_DIFFERING, LEAST_SOURCES, Reason
from wbcsr.stats.verdicts import LEAST_SEEDS, largest_share
from wbcsr.study import published
from wbcsr.study.labels import MEASURES, NO_ENHANCED, QUESTIONS, variant_label
from wbcsr.study.plan import Plan

DIFFERENCE = [points("difference", "Difference"), interval("low", "high", "+.1f")]
TESTED = [
    text("p_sources", "p", p_text, "number"),
    text("p_holm", "p, Holm", p_text, "number"),
    text("p_mcnemar", "p, McNemar", p_text, "number"),
    number("images", "Images", ",.0f"),
    SOURCES,
]
VERDICTS = {
    "higher": "higher",
    "lower": "lower",
    "equivalent": "equivalent",
    "non_inferior": "not worse",
    "no_detectable_difference": "no detectable difference",
    "provisional": "provisional",
    "unknown": "too few sources",
    "not_judged": "none",
}


def differences_table(data: pd.DataFrame) -> Table:
    """A row for each comparison; `data` comes from `wbcsr.stats.differences.differences`, or is a part of it."""
    return Table(
        "differences",
        "Differences",
        f"Accuracy of an arm minus that of another on the same images{_where(data)}.",
        data,
        [
            *SUBSET,
            text("question", "Question", QUESTIONS.__getitem__),
            arm(),
            arm("against_trained_on", "against_tested_on", "Against"),
            *DIFFERENCE,
            each("verdict", "Verdict", _verdict, style="text"),
            *TESTED,
            *_judged(data),
        ],
        note=_note(data, "secondary comparisons") + _verdict_note(data),
        marked=[(row, "verdict") for row, family in enumerate(data["family"]) if family == "primary"],
        blocks=("split", "subset", "question"),
        title_of=lambda row: QUESTIONS[row["question"]],
        source="results/tables/differences.csv",
    )


def _verdict(row: dict[str, str]) -> str:
    return VERDICTS[row["verdict"]] + (" (primary)" if row["family"] == "primary" else "")


def _judged(data: pd.DataFrame) -> list[Column]:
    """The columns of the metric that decides the verdicts."""
    metric = METRICS[data["metric"].iloc[0]] if len(data) else ""

    def needed(row: dict[str, float]) -> str:
        texts = [number_text(row[f"sources_{points}"], ",.0f") for points in (1, 2, 3)]
        return " / ".join(texts).replace("inf", "∞") if all(texts) else ""

    return [
        points("metric_difference", "Difference", metric),
        interval("metric_low", "metric_high", "+.1f", group=metric),
        interval("metric_low90", "metric_high90", "+.1f", "90 % CI", metric),
        text("p_metric_holm", "p, Holm", p_text, "number", metric),
        text("p_tost", "p, equivalence", p_text, "number", metric),
        points("detectable", "Smallest detectable", metric, ".1f"),
        each("sources_1", "Sources for 1 / 2 / 3 points", needed, metric),
    ]


def recalls_table(data: pd.DataFrame, plan: Plan) -> Table:
    """A row for each class, and for the study's pair; `data` comes from `wbcsr.stats.differences.recalls`."""
    pair = published.pair(plan.classes)
    labels = plan.labels | ({" and ".join(pair): " and ".join(plan.labels[name] for name in pair)} if pair else {})
    return Table(
        "recalls",
        "Recalls",
        f"What {variant_label(plan.enhanced)} changes for each class{_where(data)}." if plan.enhanced else NO_ENHANCED,
        data,
        [
            *SUBSET,
            text("measure", "Measure", MEASURES.__getitem__),
            text("of", "Class", labels.__getitem__),
            *DIFFERENCE,
            percent("share", variant_label(plan.enhanced or "original")),
            percent("against", "Original"),
            *TESTED,
        ],
        note="Recall: share of a class's images that were classified correctly. Pair accuracy: the same "
        "share for the images of both classes together. Pairwise confusion: share of these images that were classified "
        "as the other class of the pair. "
        "The intervals include the variation between trainings if there are several. " + _note(data, "rows"),
        blocks=("split", "subset", "measure"),
        title_of=lambda row: MEASURES[row["measure"]],
        source="results/tables/recalls.csv",
    )


def why_none(rows: pd.DataFrame, of: str = "") -> str:
    """Why these rows have no interval, as a clause; all rows have the same reason and number of sources.

    `of` is the prefix of the interval's columns.
    """
    first = rows.iloc[0]
    reason, differing = first[f"{of}reason"], rows[f"{of}differing"]
    # If no source is known, every image counts as a source.
    sources = int(first["images"] if pd.isna(first["sources"]) else first["sources"])
    if reason == Reason.LONE_SOURCES:
        return "no class has two sources"
    if reason == Reason.FEW_SOURCES:
        worth = f"{sources:,} sources carry as much information as {first[f'{of}effective_sources']:.1f} of equal size"
        return f"{worth}; an interval needs {LEAST_SOURCES}"
    numbers = listed([f"{number:,.0f}" for number in sorted(set(differing))])
    only = "only " if reason == Reason.ALIKE else ""
    most = 100 * largest_share(int(differing.max()), sources)
    return (
        f"the arms differ on {only}{numbers} of {sources:,} sources (with 95 % confidence, on at most "
        f"{most:.1f}\u00a0% of all sources); an interval needs {LEAST_DIFFERING}"
    )


def _where(data: pd.DataFrame) -> str:
    """The images that all rows refer to; empty if the rows refer to different images."""
    titles = {subset_title(row).lower() for _, row in data.iterrows()}
    return f": {titles.pop()}" if len(titles) == 1 else ""


def _verdict_note(data: pd.DataFrame) -> str:
    if data.empty:
        return ""
    margin = f"{100 * data['margin'].iloc[0]:.1f}".removesuffix(".0")
    return (
        f" The verdict is about {METRICS[data['metric'].iloc[0]].lower()}. Holm’s correction leaves out the primary "
        "comparison. None: validation images chose the epoch of each training. Macro recall: mean recall of the "
        "classes; every source of a class has the same weight. Higher, lower: the 95 % interval lies on one side of "
        f"zero, and p is below 0.05. Equivalent: the 90 % interval lies within ±{margin} points (two one-sided tests); "
        f"not worse: above −{margin}. Provisional: fewer than {LEAST_SEEDS} trainings. The intervals include the "
        "variation between trainings if there are several. Smallest detectable: the difference that 80 % of studies "
        "with this number of sources would detect. Sources for 1 / 2 / 3 points: the number of sources that would be "
        "needed to detect these differences (∞: more trainings are needed first)."
    )


def _note(data: pd.DataFrame, rows: str) -> str:
    note = (
        "Differences are means over the seeds. 95 % CI: computed over sources; none if too few sources differ. p: "
        "two-sided, the larger of the p-values of a permutation test over sources and of Student’s t. Holm: corrected "
        f"for all {rows} of the same split and subset. "
        "McNemar: first seed only; this test treats images as independent, and its p is too small if images share "
        "sources."
    )
    if data["sources"].isna().any():
        note += " No source is known; every image counts as a separate source."
    without = data[data["reason"] != ""].fillna({"sources": data["images"]})
    blocks = without.groupby(["reason", "sources", "effective_sources"])
    reasons = [why_none(block) for _, block in blocks]
    return f"{note} No interval: {'; '.join(reasons)}." if reasons else note
