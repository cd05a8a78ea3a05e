"""Order and weights of Pillow's antialiased bilinear resize, used by both implementations of `to_square`."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

# Pillow's PRECISION_BITS: 32 bits minus 8 for the pixel and 2 against overflow.
PRECISION_BITS = 32 - 8 - 2


def passes(height: int, width: int, side: int) -> list[int]:
    """Return the axes of (n, height, width, 3) in the order of Pillow's passes to `side`, without unchanged axes.

    Rows are resampled first. Since Pillow 13, columns are first if the height shrinks far more than the width
    (https://github.com/python-pillow/Pillow/pull/9549). The exact rule was determined by trying all sizes up to 40.
    """
    down_first = height > side and height - side > 2 * (width - side)
    lengths = {1: height, 2: width} if down_first else {2: width, 1: height}
    return [axis for axis, length in lengths.items() if length != side]


# Never emptied: a captured CUDA graph reads the tables at their addresses. A table has about 8 * length bytes.
@functools.cache
def weights(length: int, side: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the first input position of each of `side` outputs, (side,), and the weights, (taps, side), both int32.

    `length` is the number of input pixels. Weights are fractions of 2**22, and 0 beyond the last pixel. The method is
    that of Pillow's precompute_coeffs and normalize_coeffs_8bpc (src/libImaging/Resample.c), in float64 and in Pillow's
    order of operations. The filter is a triangle two pixels wide, measured in the coarser of input and output.
    """
    scale = length / side
    support = max(scale, 1.0)
    centre = (np.arange(side) + 0.5) * scale
    # astype truncates, as a cast in C does.
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    count = np.minimum((centre + support + 0.5).astype(np.int64), length) - first
    tap = np.arange(count.max())[:, None]
    share = np.maximum(1.0 - np.abs((tap + first - centre + 0.5) * (1.0 / support)), 0.0) * (tap < count)
    # accumulate adds in order, as C does; sum does not guarantee it.
    share /= np.add.accumulate(share, axis=0)[-1]
    fixed = (0.5 + share * (1 << PRECISION_BITS)).astype(np.int32)
    return torch.from_numpy(first.astype(np.int32)).to(device), torch.from_numpy(fixed).to(device)
