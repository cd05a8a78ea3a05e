"""Order and weights of Pillow's antialiased bilinear resize, which both paths of `to_square` share."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

# Pillow's PRECISION_BITS: 32 bits less 8 of the pixel and 2 against overflow.
PRECISION_BITS = 32 - 8 - 2


def passes(height: int, width: int, side: int) -> list[int]:
    """The axes of (n, height, width, 3) in the order of Pillow's passes to `side`, without those that fit already.

    The rows are the first to be resampled, but since Pillow 13 the columns of images that shrink far more in height
    than in width (https://github.com/python-pillow/Pillow/pull/9549). Its rule was found by trying all sizes to 40.
    """
    down_first = height > side and height - side > 2 * (width - side)
    lengths = {1: height, 2: width} if down_first else {2: width, 1: height}
    return [axis for axis, length in lengths.items() if length != side]


# Never emptied: a captured CUDA graph reads the tables at their addresses. One takes about 8 * length bytes.
@functools.cache
def weights(length: int, side: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where each of `side` pixels begins to read a line of `length`, (side,), and its weights, (taps, side), int32.

    A weight is a share of 2**22; beyond the last pixel of the line it is 0. The method is that of Pillow's
    precompute_coeffs and normalize_coeffs_8bpc (src/libImaging/Resample.c), in float64 and in Pillow's order: the
    filter is a triangle, as wide as two pixels of the longer of line and result.
    """
    scale = length / side
    support = max(scale, 1.0)
    centre = (np.arange(side) + 0.5) * scale
    # astype cuts off the fraction, as a cast in C does.
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    count = np.minimum((centre + support + 0.5).astype(np.int64), length) - first
    tap = np.arange(count.max())[:, None]
    share = np.maximum(1.0 - np.abs((tap + first - centre + 0.5) * (1.0 / support)), 0.0) * (tap < count)
    # accumulate adds one after the other as C does, which sum does not promise.
    share /= np.add.accumulate(share, axis=0)[-1]
    fixed = (0.5 + share * (1 << PRECISION_BITS)).astype(np.int32)
    return torch.from_numpy(first.astype(np.int32)).to(device), torch.from_numpy(fixed).to(device)
