"""Checks of `wbcsr.pixels`, for the torch implementation and for the kernels under Triton's interpreter or on a GPU.

A check takes the module to test (`wbcsr.pixels` or `wbcsr.pixels.kernels`) and the device of the tensors, and compares
the results with numpy and Pillow bit by bit. Run as a script, this module checks the kernels under the interpreter.
TRITON_INTERPRET=1 must be set before triton is imported, so this needs a separate process.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from types import ModuleType

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
FORMATS = (torch.contiguous_format, torch.channels_last)
IMAGENET = (
    tuple(255 * value for value in (0.485, 0.456, 0.406)),
    tuple(255 * value for value in (0.229, 0.224, 0.225)),
)

# An example takes tenths of a second under the interpreter.
_examples = settings(max_examples=10 if os.environ.get("TRITON_INTERPRET") == "1" else 100, deadline=None)
# Small sizes, but larger than the kernels' tiles of 4 × 128 elements.
_shape = st.tuples(
    st.integers(1, 3), st.integers(1, 9), st.integers(1, 9) | st.integers(40, 45) | st.integers(126, 130)
)
_seed = st.integers(0, 2**32 - 1)
# Values that float32 cannot represent exactly; no subnormal numbers, which the interpreter treats as float64.
_channels = st.tuples(*[st.floats(-300, 300).map(lambda value: round(value, 6))] * 3)


def _whole(values: Tensor) -> Tensor:
    return values.contiguous()


def _turned(values: Tensor) -> Tensor:
    return values.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)


def _channels_last(values: Tensor) -> Tensor:
    return values.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def _channels_second(values: Tensor) -> Tensor:
    return values.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)


def _sliced(values: Tensor) -> Tensor:
    room = torch.zeros([2 * length + 1 for length in values.shape], dtype=values.dtype, device=values.device)
    return room[1::2, 1::2, 1::2, 1::2].copy_(values)


# Functions that keep the values of a tensor and change its strides.
_layout = st.sampled_from((_whole, _turned, _channels_last, _channels_second, _sliced))


def _same(found: Tensor, expected: np.ndarray | Tensor) -> None:
    expected = torch.as_tensor(expected)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    bits = [tensor.cpu().flatten().view(torch.uint8) for tensor in (found, expected)]
    different = (bits[0] != bits[1]).nonzero()
    assert not len(different), f"{len(different)} bytes differ, the first at {different[0].tolist()}"


def _random_images(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


def _expected_network(images: Tensor, size: tuple[int, int], offset: tuple, scale: tuple, dtype: torch.dtype) -> Tensor:
    margins = [(0, 0), (0, size[0] - images.shape[1]), (0, size[1] - images.shape[2]), (0, 0)]
    pixels = np.pad(images.cpu().numpy(), margins, mode="reflect").astype(np.float32)
    values = (pixels - np.array(offset, np.float32)) / np.array(scale, np.float32)
    return torch.from_numpy(values).permute(0, 3, 1, 2).to(dtype)


def _expected_pixels(values: Tensor) -> np.ndarray:
    known = np.nan_to_num(values.cpu().float().permute(0, 2, 3, 1).numpy(), nan=0.0)
    return np.rint(np.clip(known, 0, 1) * np.float32(255)).astype(np.uint8)


@_examples
@given(
    shape=_shape,
    margin=st.tuples(st.integers(0, 9), st.integers(0, 9) | st.integers(120, 130)),
    offset=_channels,
    scale=_channels.filter(lambda scale: min(map(abs, scale)) > 1e-3),
    dtype=st.sampled_from(DTYPES),
    memory_format=st.sampled_from(FORMATS),
    layout=_layout,
    seed=_seed,
)
def check_network(
    path: ModuleType,
    device: str,
    shape: tuple[int, int, int],
    margin: tuple[int, int],
    offset: tuple[float, float, float],
    scale: tuple[float, float, float],
    dtype: torch.dtype,
    memory_format: torch.memory_format,
    layout: Callable[[Tensor], Tensor],
    seed: int,
) -> None:
    images = layout(_random_images((*shape, 3), seed).to(device))
    size = (shape[1] + margin[0], shape[2] + margin[1])
    found = path.to_network(images, size, offset, scale, dtype, memory_format)
    _same(found, _expected_network(images, size, offset, scale, dtype))
    assert found.stride() == torch.empty(found.shape, memory_format=memory_format).stride()


def check_network_of_every_byte(path: ModuleType, device: str) -> None:
    """The inputs of the workflow's two networks, compared with the former computation."""
    images = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(1, 16, 16, 3).to(device)
    planes = images.cpu().permute(0, 3, 1, 2)
    mean, std = (
        255 * torch.tensor(values).view(1, 3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    for dtype in DTYPES:
        for memory_format in FORMATS:
            arguments = ((16, 16), (0.0, 0.0, 0.0), (255.0, 255.0, 255.0), dtype, memory_format)
            unit = torch.from_numpy(planes.numpy().astype(np.float32) / np.float32(255))
            _same(path.to_network(images, *arguments), unit.to(dtype))
            constants = (tuple(mean.flatten().tolist()), tuple(std.flatten().tolist()))
            found = path.to_network(images, (16, 16), *constants, dtype, memory_format)
            _same(found, ((planes.float() - mean) / std).to(dtype))
            # bfloat16 lacks the odd numbers from 256 on, and float16 from 2048 on; odd numbers there lie half-way
            # between two values.
            halfway = ((-256.0, -2048.0, 0.0), (1.0, 1.0, 1.0), dtype)
            found = path.to_network(images, (16, 16), *halfway, memory_format)
            _same(found, _expected_network(images, (16, 16), *halfway))


@_examples
@given(
    shape=_shape,
    crop=st.tuples(st.integers(0, 5), st.integers(0, 5)),
    dtype=st.sampled_from(DTYPES),
    layout=_layout,
    seed=_seed,
)
def check_pixels(
    path: ModuleType,
    device: str,
    shape: tuple[int, int, int],
    crop: tuple[int, int],
    dtype: torch.dtype,
    layout: Callable[[Tensor], Tensor],
    seed: int,
) -> None:
    number, height, width = shape
    random = np.random.default_rng(seed).uniform(-0.2, 1.2, (number, 3, height + crop[0], width + crop[1]))
    output = layout(torch.from_numpy(random).to(device, dtype))
    found = path.to_pixels(output, (height, width))
    _same(found, _expected_pixels(output[:, :, :height, :width]))
    assert found.is_contiguous()


def check_pixels_of_every_half(path: ModuleType, device: str) -> None:
    """All 16-bit numbers in both types, including infinities and every NaN."""
    bits = torch.from_numpy(np.arange(-(2**15), 2**15).astype(np.int16))
    for dtype in (torch.float16, torch.bfloat16):
        output = torch.cat([bits, bits[:128]]).view(dtype).view(1, 3, 8, 2736).to(device)
        _same(path.to_pixels(output, (8, 2736)), _expected_pixels(output))


def check_pixels_between_two_bytes(path: ModuleType, device: str) -> None:
    """float32 values for which 255 x lies half-way between two bytes or next to it, and the ends of the range."""
    middle = (np.arange(-1, 257) + 0.5) / 255
    values = np.concatenate(
        [middle, np.arange(256) / 255, [0.0, -0.0, 1.0, math.inf, -math.inf, math.nan, 1e-45, 3e38]]
    )
    values = values.astype(np.float32)
    around = [values]
    for toward in (-math.inf, math.inf):
        one = np.nextafter(values, np.float32(toward))
        around += [one, np.nextafter(one, np.float32(toward))]
    output = torch.from_numpy(np.concatenate(around)).view(1, 1, 5, -1).expand(2, 3, -1, -1).to(device)
    assert (output[0, 0, 0].double() * 255 % 1 == 0.5).any(), "no tie among the values"
    _same(path.to_pixels(output, tuple(output.shape[2:])), _expected_pixels(output))
    specials = torch.tensor([math.nan, -math.nan, 0.5 / 255 * 0.99, 127.5 / 255, math.inf, -math.inf])
    found = path.to_pixels(specials.view(1, 1, 1, 6).expand(1, 3, 1, 6).to(device), (1, 6))
    assert found[0, 0, :, 0].tolist() == [0, 0, 0, 128, 255, 0]


@_examples
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 12), st.integers(1, 12) | st.integers(40, 50)),
    side=st.integers(1, 12),
    layout=_layout,
    seed=_seed,
)
def check_square(
    path: ModuleType,
    device: str,
    shape: tuple[int, int, int],
    side: int,
    layout: Callable[[Tensor], Tensor],
    seed: int,
) -> None:
    images = layout(_random_images((*shape, 3), seed).to(device))
    found = path.to_square(images, side)
    resized = [Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR) for image in images.cpu().numpy()]
    _same(found, np.stack([np.asarray(image) for image in resized]))
    assert found.is_contiguous()
    assert found.data_ptr() != images.data_ptr()


def check_strides_beyond_32_bits(path: ModuleType, device: str) -> None:
    """The third element of each axis in turn lies 2**31 elements after the first; memory between them is not used."""
    for axis in range(4):
        strides = [27, 9, 3, 1]
        strides[axis] = 2**30 + 1
        room = torch.empty(2**31 + 200, dtype=torch.uint8, device=device)
        images = room.as_strided((3, 3, 3, 3), strides).copy_(_random_images((3, 3, 3, 3), axis).to(device))
        for memory_format in FORMATS:
            arguments = ((4, 4), *IMAGENET, torch.float32, memory_format)
            _same(path.to_network(images, *arguments), _expected_network(images, *arguments[:4]))
        _same(path.to_square(images, 2), path.to_square(images.contiguous(), 2))
        room = torch.empty(2**31 + 200, dtype=torch.float16, device=device)
        output = room.as_strided((3, 3, 3, 3), strides).copy_(torch.rand(3, 3, 3, 3).to(device))
        _same(path.to_pixels(output, (3, 3)), _expected_pixels(output))


CHECKS: tuple[Callable[[ModuleType, str], None], ...] = (
    check_network,
    check_network_of_every_byte,
    check_pixels,
    check_pixels_of_every_half,
    check_pixels_between_two_bytes,
    check_square,
    check_strides_beyond_32_bits,
)


def _check_under_the_interpreter() -> None:
    import triton

    from wbcsr.pixels import kernels

    assert triton.knobs.runtime.interpret, "set TRITON_INTERPRET=1"
    torch.set_num_threads(1)
    for check in CHECKS:
        check(kernels, "cpu")
        print(check.__name__, "passed")


if __name__ == "__main__":
    _check_under_the_interpreter()
