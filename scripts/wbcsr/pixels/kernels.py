"""The functions of `wbcsr.pixels` as Triton kernels, for CUDA tensors.

Every kernel works on tiles of ROWS × COLUMNS elements of one image. If the result is channels-last, a row has 3 * width
elements, so that neighbouring lanes write neighbouring addresses in any layout. Reads of neighbouring lanes are within
a few cache lines. Offsets are 64-bit. The grid has one axis, the only one that allows 2**31 - 1 programs.
"""

# Triton determines the types of a kernel's parameters at each launch.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from wbcsr.pixels.bilinear import PRECISION_BITS, passes, weights

# With widths of 224 or 320, few lanes are idle, and a small image still has many tiles.
COLUMNS = 128
# Each thread stores four neighbouring elements at once, 4 to 16 bytes.
ROWS = 4
# One element per thread: with more, each tap would move a gathered pixel through shared memory.
RESAMPLE_ROWS = 1
# No fused multiply-add: torch rounds the product before the addition.
LAUNCH = {"num_warps": 4, "enable_fp_fusion": False}

# 1.5 * 2**23: float32 has no fractions from 2**23 to 2**24, so adding it rounds to nearest with ties to even.
_TO_INTEGER = tl.constexpr(12582912.0)
_PRECISION_BITS = tl.constexpr(PRECISION_BITS)
_HALF = tl.constexpr(1 << (PRECISION_BITS - 1))


@triton.jit
def _tile(rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Return image (int64), rows (ROWS, 1) and columns (1, COLUMNS) of this program, and a mask of valid elements."""
    tiles_across = tl.cdiv(columns, COLUMNS)
    tiles_down = tl.cdiv(rows, ROWS)
    program = tl.program_id(0)
    image = (program // tiles_across // tiles_down).to(tl.int64)
    row = program // tiles_across % tiles_down * ROWS + tl.arange(0, ROWS)[:, None]
    column = program % tiles_across * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    return image, row, column, (row < rows) & (column < columns)


@triton.jit
def _reflect(position, period):
    phase = position % period
    return tl.minimum(phase, period - phase).to(tl.int64)


@triton.jit
def _by_channel(channel, values):
    return tl.where(channel == 0, values[0], tl.where(channel == 1, values[1], values[2]))


@triton.jit
def _normalise(pixel, offset, scale, dtype: tl.constexpr):
    value = tl.div_rn(pixel.to(tl.float32) - offset, scale)
    if dtype == tl.bfloat16:
        # Done with integers: Triton's interpreter does not round to bfloat16, and compute capability 7.5 has no
        # instruction.
        bits = value.to(tl.uint32, bitcast=True)
        upper = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        result = upper.to(tl.uint16).to(tl.bfloat16, bitcast=True)
    else:
        result = value.to(dtype)
    return result


@triton.jit
def to_network_kernel(
    images,
    target,
    strides,
    row_period,
    column_period,
    height,
    width,
    offset,
    scale,
    CHANNELS_LAST: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """`images` (n, ·, ·, 3) with `strides` → `target` (n, 3, height, width); the periods are for reflection."""
    if CHANNELS_LAST:
        image, row, element, exists = _tile(height, 3 * width, ROWS, COLUMNS)
        channel = element % 3
        source = images + image * strides[0] + _reflect(row, row_period) * strides[1]
        source += _reflect(element // 3, column_period) * strides[2] + channel.to(tl.int64) * strides[3]
        pixel = tl.load(source, mask=exists)
        value = _normalise(pixel, _by_channel(channel, offset), _by_channel(channel, scale), target.dtype.element_ty)
        tl.store(target + (image * height + row) * width * 3 + element, value, mask=exists)
    else:
        image, row, column, exists = _tile(height, width, ROWS, COLUMNS)
        source = images + image * strides[0] + _reflect(row, row_period) * strides[1]
        source += _reflect(column, column_period) * strides[2]
        for channel in tl.static_range(3):
            pixel = tl.load(source, mask=exists)
            value = _normalise(pixel, offset[channel], scale[channel], target.dtype.element_ty)
            tl.store(target + ((image * 3 + channel) * height + row) * width + column, value, mask=exists)
            source += strides[3]


@triton.jit
def to_pixels_kernel(output, target, strides, height, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """`output` (n, 3, ·, ·) with four `strides` → `target` (n, height, width, 3) uint8."""
    image, row, element, exists = _tile(height, 3 * width, ROWS, COLUMNS)
    source = output + image * strides[0] + (element % 3).to(tl.int64) * strides[1]
    source += row.to(tl.int64) * strides[2] + (element // 3).to(tl.int64) * strides[3]
    value = tl.load(source, mask=exists).to(tl.float32)
    # Comparisons with NaN are false, so NaN becomes 0.
    value = tl.where(value > 0, value, 0.0)
    value = tl.where(value < 1, value, 1.0)
    rounded = (value * 255 + _TO_INTEGER) - _TO_INTEGER
    tl.store(target + (image * height + row) * width * 3 + element, rounded.to(tl.uint8), mask=exists)


@triton.jit
def resample_kernel(
    images,
    target,
    starts,
    weights,
    strides,
    last,
    taps,
    height,
    width,
    DOWN: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """One pass along the columns (DOWN) or rows: `images` with `strides` → `target` (n, height, width, 3) uint8.

    `starts` and `weights` are those of `bilinear.weights`; `last` is the last input position along the pass.
    """
    image, row, element, exists = _tile(height, 3 * width, ROWS, COLUMNS)
    column = element // 3
    source = images + image * strides[0] + (element % 3).to(tl.int64) * strides[3]
    if DOWN:
        source += column.to(tl.int64) * strides[2]
        step, position, side = strides[1], row, height
    else:
        source += row.to(tl.int64) * strides[1]
        step, position, side = strides[2], column, width
    inside = position < side
    start = tl.load(starts + position, mask=inside, other=0)
    weight = weights + position
    # Adding one half makes the shift round.
    total = tl.full((ROWS, COLUMNS), _HALF, tl.int32)
    for tap in range(taps):
        # Beyond the last pixel the weight is 0, so any pixel can be read.
        at = tl.minimum(start + tap, last).to(tl.int64)
        pixel = tl.load(source + at * step, mask=exists, other=0).to(tl.int32)
        total += pixel * tl.load(weight, mask=inside, other=0)
        weight += side
    pixel = tl.minimum(total >> _PRECISION_BITS, 255).to(tl.uint8)
    tl.store(target + (image * height + row) * width * 3 + element, pixel, mask=exists)


def to_network(
    images: Tensor,
    size: tuple[int, int],
    offset: tuple[float, float, float],
    scale: tuple[float, float, float],
    dtype: torch.dtype,
    memory_format: torch.memory_format,
) -> Tensor:
    """See `wbcsr.pixels.to_network`."""
    shape = (len(images), 3, *size)
    target = torch.empty(shape, dtype=dtype, device=images.device, memory_format=memory_format)
    channels_last = memory_format == torch.channels_last
    periods = [max(2 * (length - 1), 1) for length in images.shape[1:3]]
    columns = 3 * size[1] if channels_last else size[1]
    with torch.cuda.device_of(images):
        to_network_kernel[_grid(len(images), size[0], columns, ROWS)](
            images, target, images.stride(), *periods, *size, offset, scale, channels_last, ROWS, COLUMNS, **LAUNCH
        )
    return target


def to_pixels(output: Tensor, size: tuple[int, int]) -> Tensor:
    """See `wbcsr.pixels.to_pixels`."""
    target = torch.empty((len(output), *size, 3), dtype=torch.uint8, device=output.device)
    with torch.cuda.device_of(output):
        to_pixels_kernel[_grid(len(output), size[0], 3 * size[1], ROWS)](
            output, target, output.stride(), *size, ROWS, COLUMNS, **LAUNCH
        )
    return target


def to_square(images: Tensor, side: int) -> Tensor:
    """See `wbcsr.pixels.to_square`."""
    pixels = images
    for axis in passes(images.shape[1], images.shape[2], side):
        pixels = _resample(pixels, axis, side)
    return pixels if pixels is not images else images.clone(memory_format=torch.contiguous_format)


def _resample(pixels: Tensor, axis: int, side: int) -> Tensor:
    starts, table = weights(pixels.shape[axis], side, pixels.device)
    shape = list(pixels.shape)
    shape[axis] = side
    target = torch.empty(shape, dtype=torch.uint8, device=pixels.device)
    line = (pixels.shape[axis] - 1, len(table))
    with torch.cuda.device_of(pixels):
        resample_kernel[_grid(shape[0], shape[1], 3 * shape[2], RESAMPLE_ROWS)](
            pixels,
            target,
            starts,
            table,
            pixels.stride(),
            *line,
            *shape[1:3],
            axis == 1,
            RESAMPLE_ROWS,
            COLUMNS,
            **LAUNCH,
        )
    return target


def _grid(images: int, rows: int, columns: int, tile_rows: int) -> tuple[int]:
    return (images * triton.cdiv(rows, tile_rows) * triton.cdiv(columns, COLUMNS),)
