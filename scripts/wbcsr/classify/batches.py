"""Batches of packed images on the device that computes: from its own memory where they fit, else streamed."""

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

# The network, its gradients and what it keeps for them want the other half.
RESIDENT_SHARE = 0.5
_BLOCK = 1024


class Batches(Protocol):
    """Images that come in batches, on one device."""

    place: str
    labels: np.ndarray

    def __len__(self) -> int:
        """The number of images."""

    def read(self, parts: Sequence[np.ndarray]) -> Iterator[tuple[Tensor, Tensor]]:
        """For each array of positions (n,): the images, (n, side, side, 3) uint8, and class numbers, (n,) int64."""


class Streamed:
    """Images that stay on disk; a thread reads the next batch while this one is in use.

    A GPU gets them from pinned memory, while it still computes.
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
    """Images that were copied to the device once, and are gathered by index there."""

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
    """The sets on `device`: in a GPU's memory if all of them fit into `RESIDENT_SHARE` of what is free, else streamed.

    A CPU streams: its arrays are mapped, and the system keeps what it can of them in memory. The choice is logged.
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
