"""Cells whose predicted class changes between two variants, with Grad-CAM maps of both networks.

This module holds names that rules need, and imports only light packages.
"""

import math

# Kinds of changed predictions: from wrong to right, from right to wrong, from one wrong class to another.
KINDS = ("gained", "lost", "other")
# The kinds that have a figure.
DRAWN = ("gained", "lost")

# Pixels of the input, in each direction, for one field of the map of a classifier's last convolutions.
FIELD = 32
# A map with fewer fields in each direction is too coarse to be drawn.
LEAST_FIELDS = 6


def fields(input_size: int) -> int:
    """The number of fields, in each direction, of the map for an input of this side in pixels."""
    return math.ceil(input_size / FIELD)


def changes_figure(kind: str) -> str:
    """The name, without suffix, of the figure with the cells of one kind."""
    return f"changes_{kind}"
