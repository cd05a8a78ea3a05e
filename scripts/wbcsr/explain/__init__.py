"""Cells whose predicted class changes between two variants, with Grad-CAM maps of both networks.

This module holds names that rules need, and imports only light packages.
"""

# Kinds of changed predictions: from wrong to right, from right to wrong, from one wrong class to another.
KINDS = ("gained", "lost", "other")
# The kinds that have a figure.
DRAWN = ("gained", "lost")


def changes_figure(kind: str) -> str:
    """The name, without suffix, of the figure with the cells of one kind."""
    return f"changes_{kind}"
