"""Nouns with their numbers, for messages, logs and the report."""

from __future__ import annotations


def noun(number: int, one: str, many: str | None = None) -> str:
    """`image` for 1; otherwise `images`, or `many` if it is given."""
    return one if number == 1 else many or f"{one}s"


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 image`, `0 images`, `1,989 images`."""
    return f"{number:,} {noun(number, one, many)}"
