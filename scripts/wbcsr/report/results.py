"""Rows of the tables that the page speaks of: an arm's accuracy, and the difference of two arms with its verdict."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

import pandas as pd

from wbcsr.errors import InputError
from wbcsr.present.table import read_table
from wbcsr.present.tables.accuracies import METRICS
from wbcsr.present.tables.differences import why_none
from wbcsr.stats import comparison, controls, correlation, cost, differences, endpoints
from wbcsr.stats.counts import TOTALS, read_leakage
from wbcsr.stats.scores import RATIOS

# The columns that the page needs of each table, and how many of the first hold words.
COLUMNS = {
    "table2": (["class", *TOTALS], 1),
    **dict.fromkeys(("table3", "table4"), (["class", *RATIOS, "support"], 1)),
    **dict.fromkeys(("table5", "table6"), (["actual"], 1)),
    "comparison": ([*comparison.TEXTS, *comparison.NUMBERS], len(comparison.TEXTS)),
    "differences": (differences.COLUMNS, differences.TEXTS),
    "recalls": (differences.RECALL_COLUMNS, differences.RECALL_TEXTS),
    "endpoints": ([*endpoints.TEXTS, *endpoints.NUMBERS], len(endpoints.TEXTS)),
    "correlation": (correlation.COLUMNS, correlation.TEXTS),
    "calibration": (
        [
            "split",
            "trained_on",
            "tested_on",
            "subset",
            "images",
            "ece",
            "confidence",
            "accuracy",
            "auc",
            "average_precision",
        ],
        4,
    ),
    "controls": (controls.COLUMNS, len(controls.TEXTS)),
    "cost": ([*cost.TEXTS, *cost.NUMBERS], len(cost.TEXTS)),
}


def read_tables(paths: Iterable[Path], leakage: Path) -> dict[str, pd.DataFrame]:
    """The tables that the report shows, by name; an empty cell of a column of numbers is NaN.

    The table `leakage` is of `wbcsr.stats.counts.read_leakage`. InputError where one is missing among `paths`, lacks
    a column or has words for numbers.
    """
    found = {path.stem: path for path in paths if path.suffix == ".csv"}
    tables = {"leakage": read_leakage(leakage)}
    for name, (columns, texts) in COLUMNS.items():
        if name not in found:
            raise InputError(f"report: {name}.csv is not among the tables; run the rule make_tables")
        tables[name] = read_table(found[name], columns, texts)
    return tables


@dataclass(frozen=True)
class Result:
    """What the page says of a row of comparison.csv; see `wbcsr.stats.comparison.compare_arms`."""

    tested_on: str
    images: int
    sources: float
    shared: float
    runs: int
    accuracy: float
    accuracy_sd: float
    accuracy_low: float
    study_accuracy: float


@dataclass(frozen=True)
class Difference:
    """What the page says of a row of differences.csv, in the metric of verdicts; see `wbcsr.stats.differences`.

    `finding` is the verdict had there been trainings enough. Where it has no interval, `why` says so as a clause.
    """

    metric: str
    difference: float
    low: float
    high: float
    p_value: float
    verdict: str
    finding: str
    margin: float
    seeds: int
    why: str


def find_result(comparison: pd.DataFrame, split: str, subset: str, variant: str) -> Result | None:
    """The row of comparison.csv of the arm that was trained and tested on `variant`, or None."""
    rows = _rows(comparison, split=split, subset=subset, trained_on=variant, tested_on=variant)
    return None if rows.empty else Result(**rows.iloc[0][[field.name for field in fields(Result)]])


def find_difference(
    differences: pd.DataFrame, split: str, subset: str, arm: tuple[str, str], against: tuple[str, str]
) -> Difference | None:
    """The row of differences.csv between two arms, each named by what it was trained and tested on, or None."""
    rows = _rows(
        differences,
        split=split,
        subset=subset,
        trained_on=arm[0],
        tested_on=arm[1],
        against_trained_on=against[0],
        against_tested_on=against[1],
    )
    if rows.empty:
        return None
    row = rows.iloc[0]
    renamed = {f"metric_{name}": name for name in ("reason", "effective_sources", "differing")}
    why = why_none(rows.drop(columns=renamed.values()).rename(columns=renamed)) if row["metric_reason"] else ""
    return Difference(
        metric=METRICS[row["metric"]],
        difference=row["metric_difference"],
        low=row["metric_low"],
        high=row["metric_high"],
        p_value=row["p_metric_holm"],
        verdict=row["verdict"],
        finding=row["finding"],
        margin=row["margin"],
        seeds=int(row["seeds"]),
        why=why,
    )


def _rows(table: pd.DataFrame, **cells: str) -> pd.DataFrame:
    """The rows that have these texts in these columns."""
    return table[(table[list(cells)] == pd.Series(cells)).all(axis=1)]
