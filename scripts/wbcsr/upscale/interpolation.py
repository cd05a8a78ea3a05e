"""Interpolation: the baseline for super-resolution, and the resizing of super-resolved images to another scale."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image


def to_size(upscaled: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize a network's output to another size with OpenCV's Lanczos filter, as Real-ESRGAN's own program does."""
    return cv2.resize(upscaled, (width, height), interpolation=cv2.INTER_LANCZOS4)


class _OneByOne(ABC):
    """An upscaler without batches and without asynchronous results."""

    def __call__(self, images: list[np.ndarray]) -> list[np.ndarray]:
        return [self._resize(image) for image in images]

    def start(self, images: list[np.ndarray]) -> Callable[[], list[np.ndarray]]:
        """Resize now; the returned function gives the results."""
        resized = self(images)
        return lambda: resized

    @abstractmethod
    def _resize(self, image: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Interpolation(_OneByOne):
    """Pillow's bicubic (a = -0.5) or Lanczos (a = 3) interpolation; 16-bit images are resized by channel in float32."""

    method: str
    scale: int
    batch_size: int = 1
    ahead: int = 0

    @property
    def identity(self) -> str:
        return f"{self.method} x{self.scale}"

    def _resize(self, image: np.ndarray) -> np.ndarray:
        size = (image.shape[1] * self.scale, image.shape[0] * self.scale)
        kernel = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}[self.method]
        if image.dtype == np.uint8:
            return np.asarray(Image.fromarray(image).resize(size, kernel))
        channels = [
            np.asarray(Image.fromarray(channel.astype(np.float32), "F").resize(size, kernel))
            for channel in np.atleast_3d(image).transpose(2, 0, 1)
        ]
        upscaled = np.rint(np.stack(channels, axis=2)).clip(0, 65535).astype(np.uint16)
        return upscaled[:, :, 0] if image.ndim == 2 else upscaled


@dataclass(frozen=True)
class Shrinking(_OneByOne):
    """Resize images that a network upscaled by `factor` to `scale` times their original size; see `to_size`.

    The result is what the network would give at that scale. `origin` is the SHA-256 of the manifest of the network's
    images, which distinguishes them from earlier ones.
    """

    factor: int
    scale: int
    origin: str
    batch_size: int = 1
    ahead: int = 0

    @property
    def identity(self) -> str:
        return f"x{self.factor} of {self.origin} to x{self.scale}"

    def _resize(self, image: np.ndarray) -> np.ndarray:
        height, width = (side // self.factor * self.scale for side in image.shape[:2])
        return to_size(image, width, height)
