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


def resample(image: np.ndarray, width: int, height: int, kernel: Image.Resampling) -> np.ndarray:
    """An image at another size by Pillow; 16 bit by channel in float32."""
    if image.dtype == np.uint8:
        return np.asarray(Image.fromarray(image).resize((width, height), kernel))
    channels = [
        np.asarray(Image.fromarray(channel.astype(np.float32), "F").resize((width, height), kernel))
        for channel in np.atleast_3d(image).transpose(2, 0, 1)
    ]
    resized = np.rint(np.stack(channels, axis=2)).clip(0, 65535).astype(np.uint16)
    return resized[:, :, 0] if image.ndim == 2 else resized


class _OneByOne(ABC):
    """An upscaler without batches and without asynchronous results."""

    batch_size = 1
    ahead = 0

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
    """Bicubic (a = -0.5) or Lanczos (a = 3) interpolation by Pillow."""

    method: str
    scale: int
    batch_size: int = 1
    ahead: int = 0

    @property
    def identity(self) -> str:
        return f"{self.method} x{self.scale}"

    def _resize(self, image: np.ndarray) -> np.ndarray:
        kernel = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}[self.method]
        return resample(image, image.shape[1] * self.scale, image.shape[0] * self.scale, kernel)


@dataclass(frozen=True)
class Reduction(_OneByOne):
    """Images reduced by `factor`, by Pillow's bicubic kernel, which is widened so that nothing aliases."""

    factor: int

    @property
    def identity(self) -> str:
        return f"reduced x{self.factor}"

    def _resize(self, image: np.ndarray) -> np.ndarray:
        height, width = (max(1, round(side / self.factor)) for side in image.shape[:2])
        return resample(image, width, height, Image.Resampling.BICUBIC)


@dataclass(frozen=True)
class Sharpening(_OneByOne):
    """Bicubic interpolation, then an unsharp mask: the image + `amount` · (the image − itself blurred).

    The blur is a Gaussian of standard deviation `sigma` in pixels of the enlarged image. Alpha is not sharpened.
    """

    scale: int
    sigma: float
    amount: float

    @property
    def identity(self) -> str:
        return f"bicubic x{self.scale} sharpened by {self.amount!r} at {self.sigma!r} px"

    def _resize(self, image: np.ndarray) -> np.ndarray:
        (enlarged,) = Interpolation("bicubic", self.scale)([image])
        colours = enlarged[:, :, :3] if enlarged.ndim == 3 else enlarged
        sharp = colours.astype(np.float32)
        sharp += self.amount * (sharp - cv2.GaussianBlur(sharp, (0, 0), self.sigma))
        result = enlarged.copy()
        result[..., : colours.shape[-1]] = np.rint(sharp).clip(0, np.iinfo(image.dtype).max)
        return result


@dataclass(frozen=True)
class Shrinking(_OneByOne):
    """Resize images that a network upscaled by `factor` to `scale` times their original size; see `to_size`.

    The result is what the network would give at that scale. `origin` is the SHA-256 of the manifest of the network's
    images, which distinguishes them from earlier ones.
    """

    factor: int
    scale: int
    origin: str

    @property
    def identity(self) -> str:
        return f"x{self.factor} of {self.origin} to x{self.scale}"

    def _resize(self, image: np.ndarray) -> np.ndarray:
        height, width = (side // self.factor * self.scale for side in image.shape[:2])
        return to_size(image, width, height)
