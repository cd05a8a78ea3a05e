"""Tiles cover the image exactly once and have context around them."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from wbcsr.upscale.tiling import plan


@settings(deadline=None)
@given(
    height=st.integers(1, 400),
    width=st.integers(1, 400),
    tile=st.integers(48, 256),
    overlap=st.integers(1, 16),
)
def test_every_pixel_is_kept_once_and_has_context(height: int, width: int, tile: int, overlap: int) -> None:
    covered = np.zeros((height, width), int)
    shape = (min(height, tile), min(width, tile))
    for piece in plan(height, width, shape, overlap):
        covered[piece.keep_top : piece.keep_bottom, piece.keep_left : piece.keep_right] += 1
        assert 0 <= piece.top <= height - shape[0]
        assert 0 <= piece.left <= width - shape[1]
        assert piece.keep_top - piece.top >= (overlap if piece.keep_top else 0)
        assert piece.left + shape[1] - piece.keep_right >= (overlap if piece.keep_right < width else 0)
    assert (covered == 1).all()


def test_an_image_not_larger_than_a_tile_is_not_divided() -> None:
    assert len(plan(240, 320, (240, 320), 48)) == 1
