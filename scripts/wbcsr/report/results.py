"""The tables that the page shows, and the rows of them that its sentences are about."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from wbcsr.errors import InputError
from wbcsr.present.table import read_table
from wbcsr.stats import comparison, controls, correlation, cost, differences, endpoints, misclassified
from wbcsr.stats.counts import TOTALS, read_leakage
from wbcsr.stats.scores import RATIOS

CALIBRATION = ("images", "ece", "brier", "log_loss", "confidence", "accuracy", "auc", "average_precision")
# The columns that the page needs of each table, and how many of them, from the first, hold words.
COLUMNS = {
    "table2": (["class", *TOTALS], 1),
    **dict.fromkeys(("table3", "table4"), (["class", *RATIOS, "support"], 1)),
    **dict.fromkeys(("table5", "table6"), (["actual"], 1)),
    "comparison": ([*comparison.TEXTS, *comparison.NUMBERS], len(comparison.TEXTS)),
    "differences": (differences.COLUMNS, differences.TEXTS),
    "recalls": (differences.RECALL_COLUMNS, differences.RECALL_TEXTS),
    "endpoints": ([*endpoints.TEXTS, *endpoints.NUMBERS], len(endpoints.TEXTS)),
    "correlation": (correlation.COLUMNS, correlation.TEXTS),
    "calibration": ([*correlation.COLUMNS[:4], *CALIBRATION], 4),
    "controls": (controls.COLUMNS, len(controls.TEXTS)),
    "misclassified": ([*misclassified.TEXTS, *misclassified.NUMBERS], len(misclassified.TEXTS)),
    "cost": ([*cost.TEXTS, *cost.NUMBERS], len(cost.TEXTS)),
}


def read_tables(paths: Iterable[Path], leakage: Path) -> dict[str, pd.DataFrame]:
    """The tables that the report shows, by name; an empty cell of a column of numbers is NaN.

    The table `leakage` comes from `wbcsr.stats.counts.read_leakage`. Raises InputError if one is missing among
    `paths`, lacks a column, or has words instead of numbers.
    """
    found = {path.stem: path for path in paths if path.suffix == ".csv"}
    tables = {"leakage": read_leakage(leakage)}
    for name, (columns, texts) in COLUMNS.items():
        if name not in found:
            raise InputError(f"report: {name}.csv is not among the tables; run the rule make_tables")
        tables[name] = read_table(found[name], columns, texts)
    return tables


def find_arm(comparison: pd.DataFrame, split: str, subset: str, variant: str) -> pd.Series | None:
    """The row of comparison.csv of the arm that was trained and tested on `variant`, or None."""
    return _row(comparison, split=split, subset=subset, trained_on=variant, tested_on=variant)


def find_difference(differences: pd.DataFrame, split: str, subset: str, variant: str, against: str) -> pd.Series | None:
    """The row of differences.csv between the arms that were trained and tested on these variants, or None."""
    arms = dict.fromkeys(("trained_on", "tested_on"), variant)
    others = dict.fromkeys(("against_trained_on", "against_tested_on"), against)
    return _row(differences, split=split, subset=subset, **arms, **others)


def _row(table: pd.DataFrame, **cells: str) -> pd.Series | None:
    """The first row that has these texts in these columns, or None."""
    found = table[(table[list(cells)] == pd.Series(cells)).all(axis=1)]
    return None if found.empty else found.iloc[0]
