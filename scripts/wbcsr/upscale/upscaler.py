"""Enlarging images by a Real-ESRGAN engine."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from wbcsr.engines.engine import Engine
from wbcsr.upscale.tiling import Tile, plan


@dataclass(frozen=True)
class Plane:
    """What goes through the network as one RGB image: (H, W, 3) float32, 0 to 1; `grey` where R, G and B are one."""

    pixels: np.ndarray
    grey: bool


class SuperResolution:
    """A Real-ESRGAN engine on whole images, tiled where they are larger than the engine's shape or `tile`.

    Pixels are those of Real-ESRGAN's own RealESRGANer with pre_pad 0: values divided by the range of the dtype,
    output clamped and rounded; grey goes through as RGB and comes back by OpenCV's luma; alpha goes through the
    network as grey; a `scale` that is not the network's own is reached by resizing its output with OpenCV's Lanczos.
    """

    def __init__(self, engine: Engine, scale: int, tile: int, overlap: int) -> None:
        self.engine = engine
        self.scale = scale
        self.tile = tile - tile % engine.multiple
        self.overlap = overlap
        self.batch_size = engine.batch_size
        self.identity = f"{engine.identity} x{scale} tile {self.tile} overlap {overlap}"

    def __call__(self, images: list[np.ndarray]) -> list[np.ndarray]:
        dtype = images[0].dtype
        planes = [plane for image in images for plane in _planes(image)]
        enlarged = self._enlarge(planes, dtype)
        if images[0].ndim == 3 and images[0].shape[2] == 4:
            enlarged = [np.dstack(pair) for pair in zip(enlarged[::2], enlarged[1::2], strict=True)]
        return [self._to_scale(result, image) for result, image in zip(enlarged, images, strict=True)]

    def _enlarge(self, planes: list[Plane], dtype: np.dtype) -> list[np.ndarray]:
        """Enlarge planes of one shape by the network's own scale, and round them to `dtype`."""
        height, width = planes[0].pixels.shape[:2]
        padded = [self._pad(plane.pixels) for plane in planes]
        shape = self.engine.shape or (min(padded[0].shape[0], self.tile), min(padded[0].shape[1], self.tile))
        factor = self.engine.scale
        results = [
            np.empty((height * factor, width * factor) + (() if plane.grey else (3,)), dtype) for plane in planes
        ]
        tiles = plan(padded[0].shape[0], padded[0].shape[1], shape, self.overlap)
        pieces = [(index, tile) for index in range(len(planes)) for tile in tiles]
        for start in range(0, len(pieces), self.batch_size):
            chunk = pieces[start : start + self.batch_size]
            outputs = self._run([_cut(padded[index], tile, shape) for index, tile in chunk])
            for (index, tile), output in zip(chunk, outputs, strict=True):
                _paste(results[index], _round(output, planes[index].grey, dtype), tile, factor)
        return results

    def _pad(self, pixels: np.ndarray) -> np.ndarray:
        """Reflect below and to the right, to what the network can divide and to the engine's shape."""
        least = self.engine.shape or (0, 0)
        multiple = self.engine.multiple
        sides = [max(-(-pixels.shape[axis] // multiple) * multiple, least[axis]) for axis in (0, 1)]
        margins = [(0, sides[0] - pixels.shape[0]), (0, sides[1] - pixels.shape[1]), (0, 0)]
        return np.pad(pixels, margins, mode="reflect") if margins[0][1] or margins[1][1] else pixels

    def _run(self, pieces: list[np.ndarray]) -> list[np.ndarray]:
        """Run the engine on pieces of one shape (h, w, 3) float32; gives (h * scale, w * scale, 3) float32 each."""
        # A compiled engine takes whole batches only.
        padding = [np.zeros_like(pieces[0])] * (self.batch_size - len(pieces) if self.engine.shape else 0)
        batch = torch.from_numpy(np.stack(pieces + padding)).permute(0, 3, 1, 2)
        with torch.inference_mode():
            output = self.engine.run(
                batch.to(self.engine.device, self.engine.dtype, memory_format=self.engine.memory_format)
            )
            real = output[: len(pieces)].float().clamp_(0, 1)
            return list(real.permute(0, 2, 3, 1).contiguous().cpu().numpy())

    def _to_scale(self, result: np.ndarray, image: np.ndarray) -> np.ndarray:
        if self.scale == self.engine.scale:
            return result
        size = (image.shape[1] * self.scale, image.shape[0] * self.scale)
        return cv2.resize(result, size, interpolation=cv2.INTER_LANCZOS4)


def _planes(image: np.ndarray) -> list[Plane]:
    scaled = image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)
    if image.ndim == 2:
        return [Plane(cv2.cvtColor(scaled, cv2.COLOR_GRAY2RGB), grey=True)]
    planes = [Plane(np.ascontiguousarray(scaled[:, :, :3]), grey=False)]
    if image.shape[2] == 4:
        planes.append(Plane(cv2.cvtColor(scaled[:, :, 3], cv2.COLOR_GRAY2RGB), grey=True))
    return planes


def _cut(pixels: np.ndarray, tile: Tile, shape: tuple[int, int]) -> np.ndarray:
    return pixels[tile.top : tile.top + shape[0], tile.left : tile.left + shape[1]]


def _round(output: np.ndarray, grey: bool, dtype: np.dtype) -> np.ndarray:
    if grey:
        output = cv2.cvtColor(output, cv2.COLOR_RGB2GRAY)
    return np.rint(output * np.float32(np.iinfo(dtype).max)).astype(dtype)


def _paste(result: np.ndarray, piece: np.ndarray, tile: Tile, factor: int) -> None:
    """Fill the part of `result` that `tile` keeps; what lies in the padding falls outside of `result`."""
    rows = slice(tile.keep_top * factor, tile.keep_bottom * factor)
    target = result[rows, tile.keep_left * factor : tile.keep_right * factor]
    top, left = (tile.keep_top - tile.top) * factor, (tile.keep_left - tile.left) * factor
    target[...] = piece[top : top + target.shape[0], left : left + target.shape[1]]
