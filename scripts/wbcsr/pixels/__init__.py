"""Conversion of pixels for a network's input and from its output, on the device of the tensor.

Each function uses one of this package's Triton kernels for CUDA tensors and torch for CPU tensors; both give the same
bytes. A kernel call is asynchronous and always returns a new, contiguous tensor. Call a function once with the same
arguments before a CUDA graph is captured: the first call compiles the kernel, and `to_square` copies its weights to the
GPU.
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

    `size` is (H, W). A smaller image is padded at the bottom and right as in numpy's pad mode "reflect", repeatedly if
    the margin is larger than the image. A side of one pixel is repeated. `offset` and `scale`, one for each channel,
    are first rounded to float32. Difference and quotient are rounded in float32 according to IEEE 754, then to `dtype`
    (float32, float16 or bfloat16), to nearest with ties to even. Raises ValueError if a shape, type or size differs
    from this description, or a scale is zero.
    """
    _check_images(images)
    _check_least(size, images.shape[1:3])
    if dtype not in _FLOATS or memory_format not in _MEMORY_FORMATS:
        raise ValueError(f"dtype {dtype} with memory format {memory_format} is not supported; see the documentation")
    if not all(scale):
        raise ValueError(f"scale is {scale}, but must not contain zero")
    return _path(images).to_network(images, size, offset, scale, dtype, memory_format)


def to_pixels(output: Tensor, size: tuple[int, int]) -> Tensor:
    """(n, 3, H, W) float32, float16 or bfloat16 with any strides → (n, h, w, 3) uint8 RGB, the top-left `size` (h, w).

    Values are converted to float32, clamped to 0..1, multiplied by 255 and rounded to nearest with ties to even. NaN
    becomes 0, because uint8 has no NaN; to detect NaN, check `output`. Raises ValueError if a shape, type or size
    differs from this description.
    """
    if output.ndim != 4 or output.shape[1] != 3 or output.dtype not in _FLOATS:
        raise ValueError(f"output is {tuple(output.shape)} {output.dtype}, not (n, 3, H, W) of a float type")
    _check_least(output.shape[2:], size)
    return _path(output).to_pixels(output, size)


def to_square(images: Tensor, side: int) -> Tensor:
    """(n, h, w, 3) uint8 with any strides → (n, side, side, 3) uint8, ignoring the aspect ratio.

    Bilinear with antialiasing, byte for byte the same as Pillow's `Image.resize((side, side), Resampling.BILINEAR)`:
    one pass along the rows and one along the columns, each rounded to uint8; a pass that does not change the length is
    skipped. Weights and order of the passes are in `wbcsr.pixels.bilinear`; the order is that of Pillow 13. Raises
    ValueError if a shape, type or size differs from this description.
    """
    _check_images(images)
    _check_least((side, side), (1, 1))
    return _path(images).to_square(images, side)


def _check_images(images: Tensor) -> None:
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != torch.uint8:
        raise ValueError(f"images are {tuple(images.shape)} {images.dtype}, not (n, h, w, 3) uint8")
    _check_least(images.shape[1:3], (1, 1))


def _check_least(size: tuple[int, ...], least: tuple[int, ...]) -> None:
    if size[0] < least[0] or size[1] < least[1] or min(least) < 1:
        raise ValueError(f"height and width are {tuple(size)}, but at least {tuple(least)} is needed")


def _path(tensor: Tensor) -> ModuleType:
    """Return the module that implements the functions for the device of `tensor`."""
    if tensor.device.type == "cpu":
        return reference
    if tensor.device.type != "cuda":
        raise ValueError(f"the tensor is on {tensor.device}; only CUDA and the CPU are supported")
    try:
        from wbcsr.pixels import kernels
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "triton":
            raise
        raise InputError(
            f"triton: is not installed, but pixels on {tensor.device} need it; install the environment "
            "for GPUs, or hide the GPU (CUDA_VISIBLE_DEVICES=) to run on the CPU"
        ) from error
    return kernels
