"""The functions of `wbcsr.pixels` in torch: for CPU tensors, and as reference for the kernels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from wbcsr.pixels.bilinear import PRECISION_BITS, passes, weights


def to_network(
    images: Tensor,
    size: tuple[int, int],
    offset: tuple[float, float, float],
    scale: tuple[float, float, float],
    dtype: torch.dtype,
    memory_format: torch.memory_format,
) -> Tensor:
    """See `wbcsr.pixels.to_network`."""
    pixels = images.permute(0, 3, 1, 2)
    for axis, length in ((2, size[0]), (3, size[1])):
        if length > pixels.shape[axis]:
            pixels = pixels.index_select(axis, _reflect(pixels.shape[axis], length))
    values = (pixels.float() - torch.tensor(offset).view(3, 1, 1)) / torch.tensor(scale).view(3, 1, 1)
    # Not contiguous(), which keeps unusual strides if a side is 1.
    return torch.empty(values.shape, dtype=dtype, memory_format=memory_format).copy_(values)


def to_pixels(output: Tensor, size: tuple[int, int]) -> Tensor:
    """See `wbcsr.pixels.to_pixels`."""
    values = output[:, :, : size[0], : size[1]].permute(0, 2, 3, 1).float()
    rounded = values.nan_to_num(nan=0.0).clamp_(0, 1).mul_(255).round_()
    return torch.empty(rounded.shape, dtype=torch.uint8).copy_(rounded)


def to_square(images: Tensor, side: int) -> Tensor:
    """See `wbcsr.pixels.to_square`."""
    pixels = images
    for axis in passes(images.shape[1], images.shape[2], side):
        pixels = _resample(pixels, axis, side)
    return torch.empty(pixels.shape, dtype=torch.uint8).copy_(pixels)


def _reflect(length: int, target: int) -> Tensor:
    return torch.from_numpy(np.pad(np.arange(length), (0, target - length), mode="reflect"))


def _resample(pixels: Tensor, axis: int, side: int) -> Tensor:
    length = pixels.shape[axis]
    starts, taps = weights(length, side, pixels.device)
    shape = list(pixels.shape)
    shape[axis] = side
    # Adding one half makes the shift round.
    total = torch.full(shape, 1 << (PRECISION_BITS - 1), dtype=torch.int32)
    for tap, weight in enumerate(taps):
        at = (starts + tap).clamp_(max=length - 1)
        total += pixels.index_select(axis, at) * weight.view(-1, *[1] * (3 - axis))
    return (total >> PRECISION_BITS).clamp_(max=255).to(torch.uint8)
