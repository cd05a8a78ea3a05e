"""Batches of packed images on the device: kept in its memory if they fit, otherwise streamed from disk."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from wbcsr.classify.classifiers import to_device
from wbcsr.classify.pack import ImageSet

log = logging.getLogger(__name__)

# The other half is for the network, its gradients and activations.
RESIDENT_SHARE = 0.5
_BLOCK = 1024


class Batches(Protocol):
    """A set of images that is read in batches on one device."""

    place: str
    labels: np.ndarray

    def __len__(self) -> int:
        """Return the number of images."""

    def read(self, parts: Sequence[np.ndarray]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield for each array of positions (n,) the images (n, side, side, 3) uint8 and class numbers (n,) int64."""


class Streamed:
    """Images that stay on disk; a thread reads the next batch while the current one is used.

    On a GPU, pinned memory lets the copy overlap with computation.
    """

    place = "streamed from disk"

    def __init__(self, images: ImageSet, device: torch.device) -> None:
        self.labels = images.labels
        self._images = images
        self._device = device

    def __len__(self) -> int:
        return len(self._images)

    def read(self, parts: Sequence[np.ndarray]) -> Iterator[tuple[Tensor, Tensor]]:
        for pixels, labels in self._images.read(parts):
            yield to_device(pixels, self._device), to_device(labels, self._device)


class Resident:
    """Images that are copied to the device once and selected by index there."""

    place = "in the device's memory"

    def __init__(self, images: ImageSet, device: torch.device) -> None:
        self.labels = images.labels
        self._device = device
        self._pixels = torch.empty((len(images), *images.arrays[0].shape[1:]), dtype=torch.uint8, device=device)
        done = 0
        for pixels, _ in images.batches(np.arange(len(images)), _BLOCK):
            self._pixels[done : done + len(pixels)].copy_(torch.from_numpy(pixels))
            done += len(pixels)
        self._labels = torch.from_numpy(images.labels).to(device)

    def __len__(self) -> int:
        return len(self._pixels)

    def read(self, parts: Sequence[np.ndarray]) -> Iterator[tuple[Tensor, Tensor]]:
        positions = to_device(np.concatenate(parts), self._device)
        for chosen in positions.split([len(part) for part in parts]):
            yield self._pixels.index_select(0, chosen), self._labels.index_select(0, chosen)


def place(sets: Sequence[ImageSet], device: torch.device) -> list[Batches]:
    """Place the sets on `device`: in GPU memory if all fit into `RESIDENT_SHARE` of what is free, otherwise streamed.

    A CPU always streams: the arrays are memory-mapped, and the operating system caches them. The choice is logged.
    """
    if device.type != "cuda":
        return [Streamed(images, device) for images in sets]
    size = sum(len(images) * int(np.prod(images.arrays[0].shape[1:])) for images in sets)
    free, _ = torch.cuda.mem_get_info(device)
    fits = size <= RESIDENT_SHARE * free
    log.info(
        "images: %.2f GB %s %.0f %% of the GPU's free %.2f GB, so they are %s",
        size / 1e9, "fit into" if fits else "exceed", 100 * RESIDENT_SHARE, free / 1e9,
        (Resident if fits else Streamed).place,
    )  # fmt: skip
    return [Resident(images, device) if fits else Streamed(images, device) for images in sets]
