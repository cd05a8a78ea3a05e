"""Numbers as the sentences of the page print them.

Accuracies, intervals and differences are shares (0 to 1); texts show them as percentages and percentage points.
"""

from __future__ import annotations

import math

from wbcsr.config import Config
from wbcsr.present.text import NONE, number_text
from wbcsr.text import noun

WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def percent(share: float) -> str:
    """0.892 → `89.2 %`, with a no-break space; NaN → an en dash."""
    return NONE if math.isnan(share) else f"{100 * share:.1f}\u00a0%"


def points(share: float) -> str:
    """A signed difference in percentage points: -0.026 → `−2.6`; what rounds to zero has no sign."""
    return number_text(100 * share, "+.1f") or NONE


def gap(value: float) -> str:
    """A difference in percentage points in words: -0.026 → `2.6 points lower`."""
    size = abs(round(100 * value, 1))
    if size == 0:
        return "the same to a tenth of a point"
    return f"{size:.1f} {'point' if size == 1 else 'points'} {'higher' if value > 0 else 'lower'}"


def chance(p_value: float) -> str:
    """A p-value in words: `in 3.1 % of cases`."""
    return "in fewer than 0.1\u00a0% of cases" if p_value < 0.001 else f"in {percent(p_value)} of cases"


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 image`, `1,989 images`; up to ten as a word."""
    word = WORDS[number] if number < len(WORDS) else f"{number:,}"
    return f"{word} {noun(number, one, many)}"


def first_fold(split: str, config: Config) -> str:
    """A split's name, if only its first fold is shown: `by_source (first of five folds)`."""
    folds = config["by_source"]["folds"]
    if split != "by_source" or folds == 1:
        return split
    return f"{split} (first of {counted(folds, 'fold')})"
