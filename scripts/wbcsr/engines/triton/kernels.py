"""A 3×3 convolution with everything that follows it, as one Triton kernel for tensor cores.

As in Triton's tutorial on matrix products, each program computes a tile of the result by a loop of `tl.dot`. Here the
rows of the left matrix are pixels, its columns are input channels, and the right matrix holds the weights of one of the
nine positions of the kernel. A program computes ROWS rows of pixels of the result. It loads each row of the source once
for each horizontal position, and uses it for up to three rows of the result.
"""

# Triton determines the types of a kernel's parameters at each launch.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from wbcsr.engines.triton.layers import Layer
from wbcsr.engines.triton.tiles import ROWS, Tile


@triton.jit
def _load(source, row, height, offsets, inside, pitch, DOUBLED: tl.constexpr):
    """Load pixels of one row of the source; pixels outside of the image are zero."""
    mask = inside & (row >= 0) & (row < height)
    return tl.load(source + (row >> DOUBLED) * pitch + offsets, mask=mask, other=0.0)


@triton.jit
def _addend(total, image, factor, pixel, pitch, channel, mask):
    values = tl.load(image + pixel * pitch + channel, mask=mask, other=0.0)
    return total + factor * values.to(tl.float32)


@triton.jit
def _store(
    total, target, first, second, row, column, channel, height, width, stored,
    target_pitch, first_pitch, second_pitch, slope, factor, first_factor, second_factor, ADDENDS: tl.constexpr,
):  # fmt: skip
    """Apply activation, factor and addends to one row of sums, and store it."""
    pixel = (row * width + column)[:, None]
    mask = (column < width)[:, None] & (channel < stored) & (row < height)
    total = factor * tl.maximum(total, slope * total)
    if ADDENDS > 0:
        total = _addend(total, first, first_factor, pixel, first_pitch, channel, mask)
    if ADDENDS > 1:
        total = _addend(total, second, second_factor, pixel, second_pitch, channel, mask)
    tl.store(target + pixel * target_pitch + channel, total.to(target.dtype.element_ty), mask=mask)


# Not specialised by height and width: one program serves images of any size.
@triton.jit(do_not_specialize=["height", "width"])
def convolution_kernel(
    source, weights, bias, target, first, second, inputs, stored, height, width,
    source_pitch, target_pitch, first_pitch, second_pitch, slope, factor, first_factor, second_factor,
    DOUBLED: tl.constexpr, ADDENDS: tl.constexpr, OUTPUTS: tl.constexpr,
    COLUMNS: tl.constexpr, DEPTH: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """`target` = factor * activation(convolution of `source`) + the addends `first` and `second`; see `Convolution`.

    All images are channels-last; a pitch is the number of channels of the buffer that holds an image. `source` has
    `inputs` channels, `weights` is (9, inputs, columns) with `columns` a multiple of OUTPUTS, `bias` (columns,) fp32.
    The first `stored` channels of the result are written. `height` and `width` are those of the result; with DOUBLED,
    the source has half of both, and its pixel (row // 2, column // 2) is read. Sums are fp32.
    """
    parts = tl.cdiv(stored, OUTPUTS)
    across, down = tl.cdiv(width, COLUMNS), tl.cdiv(height, 4)
    program = tl.program_id(0)
    channel = program % parts * OUTPUTS + tl.arange(0, OUTPUTS)[None, :]
    tile = program // parts
    column = tile % across * COLUMNS + tl.arange(0, COLUMNS)
    row = tile // across % down * 4
    image = (tile // across // down).to(tl.int64)
    source_width = width >> DOUBLED
    source += image * (height >> DOUBLED) * source_width * source_pitch
    pitch = source_width * source_pitch
    depth = tl.arange(0, DEPTH)
    matrix = depth[:, None] * (parts * OUTPUTS) + channel
    total0 = tl.zeros((COLUMNS, OUTPUTS), tl.float32)
    total1 = tl.zeros((COLUMNS, OUTPUTS), tl.float32)
    total2 = tl.zeros((COLUMNS, OUTPUTS), tl.float32)
    total3 = tl.zeros((COLUMNS, OUTPUTS), tl.float32)
    for step in tl.range(0, 3 * (inputs // DEPTH), num_stages=STAGES):
        across_by, taken = step % 3, step // 3 * DEPTH
        beside = column + across_by - 1
        inside = ((beside >= 0) & (beside < width))[:, None]
        offsets = (beside >> DOUBLED)[:, None] * source_pitch + taken + depth[None, :]
        above = tl.load(weights + (across_by * inputs + taken) * (parts * OUTPUTS) + matrix)
        middle = tl.load(weights + ((3 + across_by) * inputs + taken) * (parts * OUTPUTS) + matrix)
        below = tl.load(weights + ((6 + across_by) * inputs + taken) * (parts * OUTPUTS) + matrix)
        row0 = _load(source, row - 1, height, offsets, inside, pitch, DOUBLED)
        row1 = _load(source, row, height, offsets, inside, pitch, DOUBLED)
        row2 = _load(source, row + 1, height, offsets, inside, pitch, DOUBLED)
        row3 = _load(source, row + 2, height, offsets, inside, pitch, DOUBLED)
        row4 = _load(source, row + 3, height, offsets, inside, pitch, DOUBLED)
        row5 = _load(source, row + 4, height, offsets, inside, pitch, DOUBLED)
        total0 = tl.dot(row2, below, tl.dot(row1, middle, tl.dot(row0, above, total0)))
        total1 = tl.dot(row3, below, tl.dot(row2, middle, tl.dot(row1, above, total1)))
        total2 = tl.dot(row4, below, tl.dot(row3, middle, tl.dot(row2, above, total2)))
        total3 = tl.dot(row5, below, tl.dot(row4, middle, tl.dot(row3, above, total3)))
    pixels = image * height * width
    target += pixels * target_pitch
    first += pixels * first_pitch
    second += pixels * second_pitch
    shift = tl.load(bias + channel)
    for number in tl.static_range(4):
        total = total0 if number == 0 else total1 if number == 1 else total2 if number == 2 else total3
        _store(
            total + shift, target, first, second, row + number, column, channel, height, width, stored,
            target_pitch, first_pitch, second_pitch, slope, factor, first_factor, second_factor, ADDENDS,
        )  # fmt: skip


def convolve(
    layer: Layer,
    tile: Tile,
    source: Tensor,
    matrices: tuple[Tensor, Tensor],
    target: Tensor,
    addends: Sequence[Tensor],
) -> None:
    """Run a layer. Images are views (n, height, width, channels) of buffers that hold whole images, channels-last."""
    count, height, width = target.shape[:3]
    step, (weights, bias) = layer.step, matrices
    first, second = [*addends, target, target][:2]
    factors = [*(factor for _, factor in step.addends), 0.0, 0.0]
    programs = count * triton.cdiv(height, ROWS) * triton.cdiv(width, tile.columns) * (layer.columns // layer.outputs)
    with torch.cuda.device_of(target):
        convolution_kernel[(programs,)](
            source,
            weights,
            bias,
            target,
            first,
            second,
            layer.inputs,
            layer.stored,
            height,
            width,
            *(image.stride(2) for image in (source, target, first, second)),
            step.slope,
            step.factor,
            *factors[:2],
            int(step.doubled),
            len(addends),
            layer.outputs,
            tile.columns,
            tile.depth_for(layer.inputs),
            tile.stages,
            num_warps=tile.warps,
        )
