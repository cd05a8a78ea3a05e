"""Numbers as text, the same in tables, figures and the report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

NONE = "–"


def number_text(number: float, form: str) -> str:
    """A number in the format `form` with a real minus sign; what rounds to zero has no sign. Empty for none."""
    if pd.isna(number):
        return ""
    text = format(number, form).replace("-", "−")
    return text if text.strip("+−0.,%") else text.lstrip("+−")


def number_texts(numbers: Iterable[float], form: str) -> list[str]:
    """`number_text` of each."""
    return [number_text(number, form) for number in numbers]


def interval_text(low: float, high: float, form: str) -> str:
    """The ends of an interval, each in the format `form`; a dash for none."""
    ends = number_texts((low, high), form)
    return (" to " if "+" in form else "–").join(ends) if all(ends) else NONE


def p_text(value: float) -> str:
    """A p-value as a paper prints it; empty for none."""
    return "<0.001" if value < 0.001 else number_text(value, ".3f")


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
