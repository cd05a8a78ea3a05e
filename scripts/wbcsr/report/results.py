"""Rows of the tables that the page speaks of: an arm's accuracy, and the difference of two arms with its verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from wbcsr.stats.intervals import CONFIDENCE, HARDLY_DIFFER


@dataclass(frozen=True)
class Result:
    """A row of comparison.csv: trained on one variant (or `dual`), tested on another.

    `accuracy` is the mean over `runs` trainings, `spread` their standard deviation (NaN for one training), `low` and
    `high` the ends of its 95 % interval (NaN where there can be none), `study` the study's accuracy (NaN where it has
    none). `sources` and `shared` are NaN where no source is known.
    """

    tested_on: str
    images: int
    sources: float
    shared: float
    runs: int
    accuracy: float
    spread: float
    low: float
    high: float
    study: float


@dataclass(frozen=True)
class Difference:
    """A row of differences.csv: one accuracy minus another, with the ends of its 95 % interval, or why it has none."""

    value: float
    low: float
    high: float
    p_sources: float
    p_holm: float
    reason: str

    @property
    def side(self) -> str:
        """Where the interval lies: `above` or `below` zero, `around` it, or `nowhere` if there is none."""
        if math.isnan(self.low):
            return "nowhere"
        if self.low > 0:
            return "above"
        return "below" if self.high < 0 else "around"

    @property
    def verdict(self) -> str:
        """Of the one comparison that was asked for beforehand; see `_judge`."""
        return self._judge(self.p_sources)

    @property
    def corrected(self) -> str:
        """Of one comparison among all of its table; see `_judge`."""
        return self._judge(self.p_holm)

    def _judge(self, p_value: float) -> str:
        """`higher` or `lower` where interval and test agree on it, else `unclear`.

        Without an interval `alike` where the arms differ on hardly any source, else `unknown`.
        """
        if self.side == "nowhere":
            return "alike" if self.reason.startswith(HARDLY_DIFFER) else "unknown"
        if p_value >= 1 - CONFIDENCE:
            return "unclear"
        return {"above": "higher", "below": "lower", "around": "unclear"}[self.side]


def find_result(
    comparison: pd.DataFrame, split: str, trained_on: str, tested_on: str, subset: str = "validation"
) -> Result | None:
    """The row of comparison.csv with these four names, or None."""
    rows = _rows(comparison, split=split, trained_on=trained_on, tested_on=tested_on, subset=subset)
    if rows.empty:
        return None
    row = rows.iloc[0]
    return Result(
        tested_on=tested_on,
        images=int(row["images"]),
        sources=float(row["sources"]),
        shared=float(row["shared"]),
        runs=int(row["runs"]),
        accuracy=float(row["accuracy"]),
        spread=float(row["accuracy_sd"]),
        low=float(row["accuracy_low"]),
        high=float(row["accuracy_high"]),
        study=float(row["study_accuracy"]),
    )


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
    return Difference(
        value=float(row["difference"]),
        low=float(row["low"]),
        high=float(row["high"]),
        p_sources=float(row["p_sources"]),
        p_holm=float(row["p_holm"]),
        reason=str(row["reason"]),
    )


def _rows(table: pd.DataFrame, **cells: str) -> pd.DataFrame:
    """The rows that have these texts in these columns."""
    return table[(table[list(cells)] == pd.Series(cells)).all(axis=1)]
