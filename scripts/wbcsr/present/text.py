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


def interval_texts(lows: Iterable[float], highs: Iterable[float], form: str) -> list[str]:
    """The ends of intervals, each in the format `form`; a dash for none."""
    between = " to " if "+" in form else "–"
    ends = zip(number_texts(lows, form), number_texts(highs, form), strict=True)
    return [f"{low}{between}{high}" if low else NONE for low, high in ends]


def p_texts(values: Iterable[float]) -> list[str]:
    """P-values as a paper prints them."""
    return ["<0.001" if value < 0.001 else f"{value:.3f}" for value in values]


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
