"""From image files to labels without leaving the device: enlarge, shrink to the classifier's input, classify."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wbcsr import imaging
from wbcsr.classify.classifiers import to_device
from wbcsr.classify.networks import RGB
from wbcsr.engines.engine import Engine
from wbcsr.engines.profile import Size
from wbcsr.pixels import to_network, to_pixels, to_square
from wbcsr.upscale.upscaler import RANGE


def label_files(
    files: Sequence[Path],
    upscaler: Engine,
    shape: Size,
    scale: int,
    classifier: Engine,
    side: int,
    normalisation: tuple[RGB, RGB],
    threads: int,
) -> Tensor:
    """The class of each image after super-resolution, by number; (files,) int64 on the CPU.

    The images have one size, at most `shape` (height, width), which is what `upscaler` takes and to which they are
    reflected; `scale` is its network's and `side` what `classifier` takes,
    after `normalisation`. `threads` decode ahead. Between the upload
    of an image and the labels of all of them nothing waits for a GPU.
    """
    squares, labels = [], []
    with ThreadPoolExecutor(threads) as pool, torch.inference_mode():
        decoded = pool.map(read_rgb8, files)
        while images := list(islice(decoded, upscaler.batch)):
            pixels = upscaler.fill(to_device(np.stack(images), upscaler.device))
            batch = to_network(pixels, shape, *RANGE, upscaler.dtype, upscaler.memory_format)
            enlarged = (pixels.shape[1] * scale, pixels.shape[2] * scale)
            squares.append(to_square(to_pixels(upscaler.run(batch)[: len(images)], enlarged), side))
        for part in torch.cat(squares).split(classifier.batch):
            pixels = classifier.fill(part)
            batch = to_network(pixels, (side, side), *normalisation, classifier.dtype, classifier.memory_format)
            labels.append(classifier.run(batch)[: len(part)].argmax(1))
    return torch.cat(labels).cpu()


def read_rgb8(path: Path) -> np.ndarray:
    """An image file as (height, width, 3) uint8 RGB."""
    return imaging.to_rgb8(imaging.read_image(path))
