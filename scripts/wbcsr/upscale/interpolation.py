"""Enlarging images by interpolation: the cheap enlargements that super-resolution must beat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Interpolation:
    """Bicubic (a = -0.5) or Lanczos (a = 3) interpolation, Pillow's; 16 bit by channel in float32."""

    method: str
    scale: int
    batch_size: int = 1
    ahead: int = 0

    @property
    def identity(self) -> str:
        return f"{self.method} x{self.scale}"

    def __call__(self, images: list[np.ndarray]) -> list[np.ndarray]:
        return [self._enlarge(image) for image in images]

    def start(self, images: list[np.ndarray]) -> Callable[[], list[np.ndarray]]:
        """Enlarge at once; what is returned has the results."""
        enlarged = self(images)
        return lambda: enlarged

    def _enlarge(self, image: np.ndarray) -> np.ndarray:
        size = (image.shape[1] * self.scale, image.shape[0] * self.scale)
        kernel = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}[self.method]
        if image.dtype == np.uint8:
            return np.asarray(Image.fromarray(image).resize(size, kernel))
        channels = [
            np.asarray(Image.fromarray(channel.astype(np.float32), "F").resize(size, kernel))
            for channel in np.atleast_3d(image).transpose(2, 0, 1)
        ]
        enlarged = np.rint(np.stack(channels, axis=2)).clip(0, 65535).astype(np.uint16)
        return enlarged[:, :, 0] if image.ndim == 2 else enlarged
