"""Cells whose label changes between two variants, and where both networks looked.

This module holds names that rules need; it imports nothing heavy.
"""

# What a change of label may be: from wrong to right, from right to wrong, from one wrong class to another.
KINDS = ("gained", "lost", "other")
# Those that are drawn, a figure each.
DRAWN = ("gained", "lost")


def changes_figure(kind: str) -> str:
    """The name, without suffix, of the figure with the cells of one kind."""
    return f"changes_{kind}"
