"""Divide an image into overlapping tiles of one shape, and choose which part of each tile is kept."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Tile:
    """The start of a tile along both axes, and the part of the image that its result fills (pixels)."""

    top: int
    left: int
    keep_top: int
    keep_bottom: int
    keep_left: int
    keep_right: int


def _axis(length: int, tile: int, overlap: int) -> list[tuple[int, int, int]]:
    """Return (start, keep from, keep to) of each tile along one axis; the last tile ends exactly at `length`.

    Neighbours share at least 2 * overlap pixels, and the kept parts meet in the middle of the shared region. Each kept
    pixel therefore has at least `overlap` pixels of context towards a neighbour.
    """
    if length <= tile:
        return [(0, 0, length)]
    starts = [*range(0, length - tile, tile - 2 * overlap), length - tile]
    meets = [(left + tile + right) // 2 for left, right in pairwise(starts)]
    return list(zip(starts, [0, *meets], [*meets, length], strict=True))


def plan(height: int, width: int, tile: tuple[int, int], overlap: int) -> list[Tile]:
    """Return tiles of shape `tile` (height, width) that cover an image; a single tile if the image is not larger.

    Each pixel of the image is kept from exactly one tile.
    """
    return [
        Tile(top, left, keep_top, keep_bottom, keep_left, keep_right)
        for top, keep_top, keep_bottom in _axis(height, tile[0], overlap)
        for left, keep_left, keep_right in _axis(width, tile[1], overlap)
    ]
