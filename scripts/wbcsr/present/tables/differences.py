"""Tables of differences: between arms, and for each class."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from wbcsr.present.table import Column, Table, interval, number, percent, points, text
from wbcsr.present.tables.accuracies import METRICS, arm, subset_title
from wbcsr.present.text import interval_texts, listed, number_text, number_texts, p_texts
from wbcsr.stats.intervals import LEAST_DIFFERING, LEAST_SOURCES, Reason
from wbcsr.stats.verdicts import LEAST_SEEDS, largest_share
from wbcsr.study import published
from wbcsr.study.labels import MEASURES, NO_ENHANCED, QUESTIONS, class_labels, variant_label
from wbcsr.study.plan import Plan


def _p(key: str, heading: str) -> Column:
    return Column(key, heading, lambda rows: p_texts(rows[key]))


SUBSET = [text("split", "Split"), text("subset", "Subset")]
COMPARED = [
    points("difference", "Difference"),
    interval("low", "high", "+.1f"),
    _p("p_sources", "p"),
    _p("p_holm", "p, Holm"),
    _p("p_mcnemar", "p, McNemar"),
    number("images", "Images", ",.0f"),
    Column("sources", "Sources", lambda rows: [number_text(n, ",.0f") or "not known" for n in rows["sources"]]),
]
VERDICTS = {
    "higher": "higher",
    "lower": "lower",
    "equivalent": "equivalent",
    "non_inferior": "not worse",
    "no_detectable_difference": "no detectable difference",
    "provisional": "provisional",
    "unknown": "too few sources",
}


def _judged(data: pd.DataFrame) -> list[Column]:
    """The columns of the metric that verdicts are about."""
    metric = METRICS[data["metric"].iloc[0]] if len(data) else ""

    def ends(level: str) -> Callable[[pd.DataFrame], list[str]]:
        low, high = f"metric_low{level}", f"metric_high{level}"
        return lambda rows: interval_texts(100 * rows[low], 100 * rows[high], "+.1f")

    def needed(rows: pd.DataFrame) -> list[str]:
        texts = (number_texts(rows[name], ",.0f") for name in ("sources_1", "sources_2", "sources_3"))
        return [" / ".join(row).replace("inf", "∞") if all(row) else "" for row in zip(*texts, strict=True)]

    return [
        number("metric_difference", "Difference, points", "+.1f", metric, scale=100),
        Column("metric_low", "95 % CI", ends(""), metric),
        Column("metric_low90", "90 % CI", ends("90"), metric),
        Column("p_metric_holm", "p, Holm", lambda rows: p_texts(rows["p_metric_holm"]), metric),
        Column("p_tost", "p, equivalence", lambda rows: _known_p(rows["p_tost"]), metric),
        number("detectable", "Smallest detectable, points", ".1f", metric, scale=100),
        Column("sources_1", "Sources for 1 / 2 / 3 points", needed, metric),
    ]


def _verdicts(rows: pd.DataFrame) -> list[str]:
    cells = zip(rows["verdict"], rows["family"], strict=True)
    return [VERDICTS[verdict] + (" (primary)" if family == "primary" else "") for verdict, family in cells]


def _known_p(values: pd.Series) -> list[str]:
    return ["" if pd.isna(value) else p_texts([value])[0] for value in values]


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
            arm(),
            arm("against_trained_on", "against_tested_on", "Against"),
            *COMPARED[:2],
            Column("verdict", "Verdict", _verdicts, style="text"),
            *COMPARED[2:],
            *_judged(data),
        ],
        note=_note(data, "secondary comparisons") + _verdict_note(data),
        marked=[(row, "verdict") for row, family in enumerate(data["family"]) if family == "primary"],
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
            *COMPARED[:2],
            percent("share", variant_label(plan.enhanced or "original")),
            percent("against", "Original"),
            *COMPARED[2:],
        ],
        note="Recall: share of a class's images that were classified correctly. Pair accuracy: the same of the images "
        "of both classes. Pairwise confusion: share of these images that were classified as the other of the two. "
        "These intervals do not include how much trainings differ. " + _note(data, "rows"),
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
    of = int(first["images"] if pd.isna(first["sources"]) else first["sources"])
    most = 100 * largest_share(int(rows["differing"].max()), of)
    return (
        f"the arms differ on {only}{numbers} of {sources} sources (of all such sources, on at most {most:.1f}\u00a0%); "
        f"an interval needs {LEAST_DIFFERING}"
    )


def _where(data: pd.DataFrame) -> str:
    """Which images all rows are of; empty where these differ."""
    title = subset_title(data.iloc[0]) if len(data[["split", "subset"]].drop_duplicates()) == 1 else ""
    return f": {title[0].lower()}{title[1:]}" if title else ""


def _verdict_note(data: pd.DataFrame) -> str:
    if data.empty:
        return ""
    margin = f"{100 * data['margin'].iloc[0]:.1f}".removesuffix(".0")
    return (
        f" Verdict: of {METRICS[data['metric'].iloc[0]].lower()}; the primary comparison is outside of Holm’s family. "
        "p-values do not include how much trainings differ. Macro recall: mean recall of the classes, every source of "
        "a class counted the same. Higher, lower: the 95 % interval lies on one side of zero, and p is below 0.05. "
        f"Equivalent: the 90 % interval lies within ±{margin} points (two one-sided tests); not worse: above "
        f"−{margin}. Provisional: found in fewer than {LEAST_SEEDS} trainings. The intervals include how much "
        "trainings differ, where that can be known. Smallest detectable: the difference that so many sources show in "
        "80 % of studies. Sources for 1 / 2 / 3 points: how many would show these (∞: more trainings are needed first)."
    )


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
