"""Real-ESRGAN's second-order degradation (Wang et al. 2021, section 3), by the functions of basicsr and realesrgan.

The steps and their settings are those of the published training (options/finetune_realesrgan_x4plus.yml): twice blur,
resize, noise and JPEG, with a sinc filter at the end.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

# basicsr cannot be imported before this module.
import wbcsr.vision  # noqa: F401

# isort: split
from basicsr.data.degradations import (
    circular_lowpass_kernel,
    random_add_gaussian_noise_pt,
    random_add_poisson_noise_pt,
    random_mixed_kernels,
)
from basicsr.utils import DiffJPEG
from basicsr.utils.img_process_util import filter2D

from wbcsr.finetune import RATIO

KERNELS = ("iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso")
KERNEL_SHARES = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)
KERNEL_SIZES = range(7, 22, 2)
SINC_SHARE, FINAL_SINC_SHARE = 0.1, 0.8
GREY_NOISE, GAUSSIAN_NOISE = 0.4, 0.5
JPEG = (30, 95)


@dataclass(frozen=True)
class Order:
    """The settings of one pass.

    `blur` is the probability of blurring; `sigma`, `generalized` and `plateau` are ranges of the blur's kernels.
    `directions` are the probabilities of enlarging, shrinking and keeping the size, within `sizes`. `noise` (Gaussian,
    in levels of 255) and `poisson` are ranges of the noise's strength.
    """

    blur: float
    sigma: tuple[float, float]
    generalized: tuple[float, float]
    plateau: tuple[float, float]
    directions: tuple[float, float, float]
    sizes: tuple[float, float]
    noise: tuple[float, float]
    poisson: tuple[float, float]


FIRST = Order(1.0, (0.2, 3), (0.5, 4), (1, 2), (0.2, 0.7, 0.1), (0.15, 1.5), (1, 30), (0.05, 3))
SECOND = Order(0.8, (0.2, 1.5), (0.5, 4), (1, 2), (0.3, 0.4, 0.3), (0.3, 1.2), (1, 25), (0.05, 2.5))


def degrade(high: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Degrade (n, 3, H, W) from 0 to 1 to half the size; return the middle of it, and the same part of `high`.

    `side` is that of the part of `high` in pixels. All images of a batch have the same sizes and filters order, as in
    the published training, but kernels and JPEG qualities of their own.
    """
    height, width = high.shape[-2:]
    low = blur(high, FIRST)
    low = jpeg(noise(resize(low, FIRST, low.shape[-2:]), FIRST))
    if random.random() < SECOND.blur:
        low = blur(low, SECOND)
    half = (height // RATIO, width // RATIO)
    low = noise(resize(low, SECOND, half), SECOND)
    sinc_first = random.random() < 0.5
    low = jpeg(final_sinc(_to_size(low, half))) if sinc_first else final_sinc(_to_size(jpeg(low), half))
    low = (low.clamp(0, 1) * 255).round() / 255
    top, left = ((length // RATIO - side // RATIO) // 2 for length in (height, width))
    small = side // RATIO
    return (
        low[..., top : top + small, left : left + small].contiguous(),
        high[..., RATIO * top : RATIO * top + side, RATIO * left : RATIO * left + side].contiguous(),
    )


def blur(images: Tensor, order: Order) -> Tensor:
    """Blur each image with a random kernel: Gaussian, generalised, plateau-shaped, or a sinc filter."""
    return filter2D(images.contiguous(), _stack(images, lambda: _kernel(order)))


def resize(images: Tensor, order: Order, size: Sequence[int]) -> Tensor:
    """Resize to a random multiple of `size`, with a random kernel."""
    (direction,) = random.choices(("up", "down", "keep"), order.directions)
    limits = {"up": (1.0, order.sizes[1]), "down": (order.sizes[0], 1.0), "keep": (1.0, 1.0)}[direction]
    scale = np.random.uniform(*limits)
    return _to_size(images, [max(1, int(length * scale)) for length in size])


def noise(images: Tensor, order: Order) -> Tensor:
    """Add Gaussian or Poisson noise, in colour or grey."""
    if np.random.uniform() < GAUSSIAN_NOISE:
        return random_add_gaussian_noise_pt(
            images, sigma_range=order.noise, clip=True, rounds=False, gray_prob=GREY_NOISE
        )
    return random_add_poisson_noise_pt(images, scale_range=order.poisson, gray_prob=GREY_NOISE, clip=True, rounds=False)


# The tables of DiffJPEG are parameters.
@torch.no_grad()
def jpeg(images: Tensor) -> Tensor:
    """Compress each image with a random JPEG quality."""
    quality = images.new_zeros(len(images)).uniform_(*JPEG)
    return DiffJPEG(differentiable=False).to(images.device)(images.clamp(0, 1), quality=quality)


def final_sinc(images: Tensor) -> Tensor:
    """Apply a sinc filter, which imitates ringing, to most images."""
    return filter2D(images.contiguous(), _stack(images, _sinc_or_pulse))


@contextmanager
def seeded(seed: Sequence[int]) -> Iterator[None]:
    """Seed the three global random generators that basicsr uses, and restore them afterwards."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    value = int(np.random.SeedSequence(seed).generate_state(1)[0])
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


def _to_size(images: Tensor, size: Sequence[int]) -> Tensor:
    mode = random.choice(("area", "bilinear", "bicubic"))
    return functional.interpolate(images, size=list(size), mode=mode)


def _stack(images: Tensor, make: Callable[[], np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack([make() for _ in images])).float().to(images.device)


def _kernel(order: Order) -> np.ndarray:
    size = random.choice(KERNEL_SIZES)
    if np.random.uniform() < SINC_SHARE:
        cutoff = np.random.uniform(math.pi / (3 if size < 13 else 5), math.pi)
        kernel = circular_lowpass_kernel(cutoff, size, pad_to=False)
    else:
        turn = [-math.pi, math.pi]
        kernel = random_mixed_kernels(
            KERNELS, KERNEL_SHARES, size, order.sigma, order.sigma, turn, order.generalized, order.plateau,
            noise_range=None,
        )  # fmt: skip
    return np.pad(kernel, (KERNEL_SIZES[-1] - size) // 2)


def _sinc_or_pulse() -> np.ndarray:
    largest = KERNEL_SIZES[-1]
    if np.random.uniform() < FINAL_SINC_SHARE:
        cutoff = np.random.uniform(math.pi / 3, math.pi)
        return np.asarray(circular_lowpass_kernel(cutoff, random.choice(KERNEL_SIZES), pad_to=largest))
    pulse = np.zeros((largest, largest))
    pulse[largest // 2, largest // 2] = 1
    return pulse
