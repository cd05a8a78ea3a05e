"""Conversion of pixels for a network's input and from its output, on the device of the tensor.

Each function runs as one of our Triton kernels on CUDA tensors and through torch on CPU tensors; only the tensor's
device decides. Both give the same bytes. A kernel never waits for the GPU and always gives a new, contiguous
tensor. Call it once before a CUDA graph is captured, with the arguments of the capture: the first call compiles, and
`to_square` then copies its table of weights to the GPU.
"""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor

from wbcsr.errors import InputError
from wbcsr.pixels import reference

_MEMORY_FORMATS = (torch.contiguous_format, torch.channels_last)
_FLOATS = (torch.float32, torch.float16, torch.bfloat16)


def to_network(
    images: Tensor,
    size: tuple[int, int],
    offset: tuple[float, float, float],
    scale: tuple[float, float, float],
    dtype: torch.dtype,
    memory_format: torch.memory_format,
) -> Tensor:
    """(n, h, w, 3) uint8 RGB with any strides → (n, 3, H, W) of `dtype`, each value (pixel - offset) / scale.

    `size` is (H, W). A smaller image is padded below and to the right as by numpy's pad mode "reflect", repeatedly
    where the margin is larger than the image. A side of one pixel is repeated.
    `offset` and `scale`, one for each channel, are rounded to float32 first; difference and quotient are rounded as
    IEEE 754 says in float32, then to `dtype` (float32, float16 or bfloat16), to nearest with ties to even.
    ValueError if a shape, type or size differs from this description, or a scale is zero.
    """
    _check_images(images)
    _check_least(size, images.shape[1:3])
    if dtype not in _FLOATS or memory_format not in _MEMORY_FORMATS:
        raise ValueError(
            f"dtype is {dtype} and memory format {memory_format}; neither may be any other than documented"
        )
    if not all(scale):
        raise ValueError(f"scale is {scale}, by which nothing can be divided")
    return _path(images).to_network(images, size, offset, scale, dtype, memory_format)


def to_pixels(output: Tensor, size: tuple[int, int]) -> Tensor:
    """(n, 3, H, W) float32, float16 or bfloat16 with any strides → (n, h, w, 3) uint8 RGB, the top-left `size` (h, w).

    Values go to float32, are clamped to 0..1, multiplied by 255 and rounded to nearest with ties to even.
    NaN becomes 0, since a byte has no NaN; a caller that must detect NaN checks `output`.
    ValueError if a shape, type or size differs from this description.
    """
    if output.ndim != 4 or output.shape[1] != 3 or output.dtype not in _FLOATS:
        raise ValueError(f"output is {tuple(output.shape)} {output.dtype} and not (n, 3, H, W) of a float type")
    _check_least(output.shape[2:], size)
    return _path(output).to_pixels(output, size)


def to_square(images: Tensor, side: int) -> Tensor:
    """(n, h, w, 3) uint8 with any strides → (n, side, side, 3) uint8, whatever the aspect ratio.

    Bilinear and antialiased, byte for byte Pillow's `Image.resize((side, side), Resampling.BILINEAR)`: one pass along
    the rows and one along the columns, each rounded to uint8, and skipped if the length stays the same.
    `wbcsr.pixels.bilinear` has the weights and the order, which is that of Pillow 13.
    ValueError if a shape, type or size differs from this description.
    """
    _check_images(images)
    _check_least((side, side), (1, 1))
    return _path(images).to_square(images, side)


def _check_images(images: Tensor) -> None:
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != torch.uint8:
        raise ValueError(f"images are {tuple(images.shape)} {images.dtype} and not (n, h, w, 3) uint8")
    _check_least(images.shape[1:3], (1, 1))


def _check_least(size: tuple[int, ...], least: tuple[int, ...]) -> None:
    if size[0] < least[0] or size[1] < least[1] or min(least) < 1:
        raise ValueError(f"a height and width of {tuple(size)} cannot hold {tuple(least)}")


def _path(tensor: Tensor) -> ModuleType:
    """The module with the functions for the device of `tensor`."""
    if tensor.device.type == "cpu":
        return reference
    if tensor.device.type != "cuda":
        raise ValueError(f"the tensor is on {tensor.device}; only CUDA and the CPU are provided for")
    try:
        from wbcsr.pixels import kernels
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "triton":
            raise
        raise InputError(
            f"triton: is not installed, and pixels on {tensor.device} go through its kernels; install the environment "
            "for GPUs, or hide the GPU (CUDA_VISIBLE_DEVICES=) to run on the CPU"
        ) from error
    return kernels
