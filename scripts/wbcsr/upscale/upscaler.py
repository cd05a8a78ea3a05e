"""Upscaling of images with the engine of a super-resolution network."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from wbcsr.engines.engine import Engine
from wbcsr.engines.profile import allowed_side
from wbcsr.engines.source import Source
from wbcsr.errors import InputError, first_line
from wbcsr.pixels import to_network, to_pixels
from wbcsr.text import counted
from wbcsr.upscale.interpolation import to_size
from wbcsr.upscale.tiling import Tile, plan
from wbcsr.weights import store
from wbcsr.weights.networks import Architecture

log = logging.getLogger(__name__)

Images = list[np.ndarray]
# Batch size by device.
BATCH = {"cpu": 1, "cuda": 8}
# Offset and scale of `to_network` that map bytes to the range 0 to 1.
RANGE = (0.0, 0.0, 0.0), (255.0, 255.0, 255.0)


def source(weights: Path) -> tuple[Source, Architecture]:
    """Return a network, from a file written by `store.fetch`, as the source of an engine; see `store.load`.

    The network maps RGB values from 0 to 1, (n, 3, height, width), to (n, 3, height * scale, width * scale).
    """
    network, architecture = store.load(weights)
    return Source(
        network,
        architecture=asdict(architecture),
        weights=weights,
        multiple=architecture.multiple,
        rule="compile_upscaler",
        tiled=True,
        exact_on_cpu=False,
        elements_per_pixel=architecture.elements_per_pixel,
        least=architecture.least,
        precisions=architecture.precisions,
    ), architecture


def batches(inference: Mapping[str, Any]) -> dict[str, int]:
    """Return the batch size by device, from the section `inference` of the configuration."""
    size = inference["batch_size"]
    return BATCH if size == "auto" else dict.fromkeys(BATCH, size)


@dataclass(frozen=True)
class Plane:
    """An RGB input of the network, (H, W, 3) float32, 0 to 1; `grey` if R, G and B are equal."""

    pixels: np.ndarray
    grey: bool


class SuperResolution:
    """Super-resolves whole images with an engine, in tiles if they exceed the engine's sizes or `tile`.

    The pixels are those of RealESRGANer (Real-ESRGAN's own class) with pre_pad 0: values are divided by the range of
    the dtype, and the output is clamped and rounded. Grey is processed as RGB and converted back to grey by OpenCV's
    luma. Alpha is processed as a grey image. A `scale` other than the network's own is reached by resizing the output
    (`to_size`), which is logged.
    """

    def __init__(self, engine: Engine, architecture: Architecture, scale: int, tile: int, overlap: int) -> None:
        self.engine = engine
        self.factor = architecture.scale
        self.multiple, self.least = architecture.multiple, architecture.least
        self.scale = scale
        if scale != self.factor:
            log.info("the network enlarges by %d, so its output is resized to ×%d", self.factor, scale)
        self.tile = tile - tile % self.multiple
        self.overlap = overlap
        self.batch_size = engine.batch
        self.identity = f"{engine.identity} x{scale} tile {self.tile} overlap {overlap}"
        self.ahead = 1 if engine.device.type == "cuda" else 0
        self._warned_of: set[tuple[int, int]] = set()
        self._gpu = _Gpu(engine.device) if engine.device.type == "cuda" else None

    def __call__(self, images: Images) -> Images:
        return self.start(images)()

    def start(self, images: Images) -> Callable[[], Images]:
        """Start to upscale images of one shape and dtype; the returned function waits for the results.

        On a GPU, this call returns before the results are ready, and further images can be started. If memory runs out,
        the batch size is halved, which is logged. Raises InputError if the engine has a fixed batch size or one image
        is too large.
        """
        if images[0].dtype == np.uint8 and images[0].shape[2:] == (3,):
            finish = self._start_rgb8(images)
        else:
            upscaled = self._upscale_planes(images)
            finish = partial(list, upscaled)
        return lambda: [self._to_scale(result, image) for result, image in zip(finish(), images, strict=True)]

    def _start_rgb8(self, images: Images) -> Callable[[], Images]:
        """Upscale 8-bit RGB images; only bytes are copied to and from the device."""
        height, width = images[0].shape[:2]
        size, shape, tiles = self._cut_plan(height, width)
        if len(tiles) == 1:
            pieces, crop = list(images), (height * self.factor, width * self.factor)
        else:
            padded = [_reflect(image, size) for image in images]
            pieces = [_cut(image, tile, shape) for image in padded for tile in tiles]
            crop = (shape[0] * self.factor, shape[1] * self.factor)
        outputs = self._in_batches(pieces, lambda chunk: self._launch(chunk, shape, crop))

        def finish() -> Images:
            upscaled = [piece for output in outputs for piece in output()]
            if len(tiles) == 1:
                return upscaled
            return [
                self._assemble(upscaled[start : start + len(tiles)], tiles, images[0])
                for start in range(0, len(upscaled), len(tiles))
            ]

        return finish

    def _upscale_planes(self, images: Images) -> Images:
        """Upscale grey, RGBA and 16-bit images as float32, and round the result on the CPU."""
        dtype = images[0].dtype
        planes = [plane for image in images for plane in _planes(image)]
        height, width = planes[0].pixels.shape[:2]
        size, shape, tiles = self._cut_plan(height, width)
        padded = [_reflect(plane.pixels, size) for plane in planes]
        pieces = [_cut(pixels, tile, shape) for pixels in padded for tile in tiles]
        outputs = [piece for output in self._in_batches(pieces, self._run) for piece in output]
        upscaled = []
        for number, plane in enumerate(planes):
            rounded = [
                _round(output, plane.grey, dtype) for output in outputs[number * len(tiles) : (number + 1) * len(tiles)]
            ]
            like = np.empty((height, width, *rounded[0].shape[2:]), dtype)
            upscaled.append(self._assemble(rounded, tiles, like))
        if images[0].ndim == 3 and images[0].shape[2] == 4:
            return [np.dstack(pair) for pair in zip(upscaled[::2], upscaled[1::2], strict=True)]
        return upscaled

    def _cut_plan(self, height: int, width: int) -> tuple[tuple[int, int], tuple[int, int], list[Tile]]:
        """Return the padded size of an image, the shape of its tiles, and the tiles."""
        profile = self.engine.profile
        low, high = (profile.min, profile.max) if profile else ((self.least,) * 2, (self.tile,) * 2)
        size = (allowed_side(height, self.multiple, low[0]), allowed_side(width, self.multiple, low[1]))
        shape = (min(size[0], high[0]), min(size[1], high[1]))
        overlap = self.overlap
        tiled = [shape[axis] for axis in (0, 1) if size[axis] > shape[axis]]
        if tiled and 2 * overlap >= min(tiled):
            # The engine was built for small images; half of each tile is kept.
            overlap = min(tiled) // 4
            if shape not in self._warned_of:
                self._warned_of.add(shape)
                log.warning(
                    "tiles of %d×%d pixels allow an overlap of only %d instead of %d, so seams may be visible; "
                    "inference.shapes auto uses larger tiles", *shape, overlap, self.overlap,
                )  # fmt: skip
        return size, shape, plan(size[0], size[1], shape, overlap)

    def _in_batches(self, pieces: Images, run: Callable[[Images], Any]) -> list[Any]:
        """Run the pieces in batches and return the results; out of memory halves the batch size permanently."""
        results, done = [], 0
        while done < len(pieces):
            chunk = pieces[done : done + self.batch_size]
            try:
                results.append(run(chunk))
            except torch.OutOfMemoryError as error:
                self._halve_batch(error)
                continue
            done += len(chunk)
        return results

    def _halve_batch(self, error: torch.OutOfMemoryError) -> None:
        reason = first_line(error)
        if self.engine.profile:
            raise InputError(
                f"{self.engine.device}: out of memory ({reason}), and the batch size is "
                f"{self.engine.batch}; set inference.batch_size to half of that, or "
                "run no other program on this GPU"
            ) from error
        if self.batch_size == 1:
            raise InputError(f"{self.engine.device}: out of memory with one image ({reason}); lower inference.tile")
        self.batch_size //= 2
        log.warning("out of memory (%s); continuing with %s at once", reason, counted(self.batch_size, "image"))
        if self._gpu:
            torch.cuda.empty_cache()

    def _launch(self, pieces: Images, shape: tuple[int, int], crop: tuple[int, int]) -> Callable[[], np.ndarray]:
        """Start the engine on pieces (h, w, 3) uint8, padded to `shape`; returns a function → (n, *crop, 3) uint8."""

        def upscale(batch: torch.Tensor) -> torch.Tensor:
            with torch.inference_mode():
                prepared = to_network(batch, shape, *RANGE, self.engine.dtype, self.engine.memory_format)
                return to_pixels(self.engine.run(prepared)[: len(pieces)], crop)

        batch = self.engine.fill(torch.from_numpy(np.stack(pieces)))
        if self._gpu:
            return self._gpu.start(upscale, batch)
        output = upscale(batch).numpy()
        return lambda: output

    def _run(self, pieces: Images) -> np.ndarray:
        """Run the engine on pieces of one shape (h, w, 3) float32; returns (n, h * factor, w * factor, 3) float32."""
        batch = self.engine.fill(torch.from_numpy(np.stack(pieces))).permute(0, 3, 1, 2)
        with torch.inference_mode():
            output = self.engine.run(
                batch.to(self.engine.device, self.engine.dtype, memory_format=self.engine.memory_format)
            )
            real = output[: len(pieces)].float().clamp(0, 1)
            return real.permute(0, 2, 3, 1).contiguous().cpu().numpy()

    def _assemble(self, pieces: Images, tiles: Sequence[Tile], image: np.ndarray) -> np.ndarray:
        """Assemble the upscaled tiles of `image`; padding is cut off."""
        height, width = image.shape[:2]
        result = np.empty((height * self.factor, width * self.factor, *image.shape[2:]), image.dtype)
        for piece, tile in zip(pieces, tiles, strict=True):
            _paste(result, piece, tile, self.factor)
        return result

    def _to_scale(self, result: np.ndarray, image: np.ndarray) -> np.ndarray:
        if self.scale == self.factor:
            return result
        return to_size(result, image.shape[1] * self.scale, image.shape[0] * self.scale)


class _Gpu:
    """Overlaps upload, network and download of successive batches, each on its own CUDA stream.

    PyTorch does not reuse pinned memory that is still being copied, nor memory that another stream still uses.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._upload, self._download = torch.cuda.Stream(device), torch.cuda.Stream(device)

    def start(self, run: Callable[[torch.Tensor], torch.Tensor], batch: torch.Tensor) -> Callable[[], np.ndarray]:
        """Enqueue `run` on a batch in CPU memory; the returned function waits for the result in CPU memory."""
        compute = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._upload):
            uploaded = batch.pin_memory().to(self._device, non_blocking=True)
        compute.wait_stream(self._upload)
        uploaded.record_stream(compute)
        output = run(uploaded)
        downloaded = torch.empty(output.shape, dtype=output.dtype, pin_memory=True)
        self._download.wait_stream(compute)
        with torch.cuda.stream(self._download):
            downloaded.copy_(output, non_blocking=True)
            output.record_stream(self._download)
            arrived = torch.cuda.Event()
            arrived.record()

        def finish() -> np.ndarray:
            arrived.synchronize()
            return downloaded.numpy()

        return finish


def _planes(image: np.ndarray) -> list[Plane]:
    scaled = image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)
    if image.ndim == 2:
        return [Plane(cv2.cvtColor(scaled, cv2.COLOR_GRAY2RGB), grey=True)]
    planes = [Plane(np.ascontiguousarray(scaled[:, :, :3]), grey=False)]
    if image.shape[2] == 4:
        planes.append(Plane(cv2.cvtColor(scaled[:, :, 3], cv2.COLOR_GRAY2RGB), grey=True))
    return planes


def _reflect(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pad to `size` by reflection at the bottom and right."""
    return np.pad(pixels, [(0, size[0] - pixels.shape[0]), (0, size[1] - pixels.shape[1]), (0, 0)], mode="reflect")


def _cut(pixels: np.ndarray, tile: Tile, shape: tuple[int, int]) -> np.ndarray:
    return pixels[tile.top : tile.top + shape[0], tile.left : tile.left + shape[1]]


def _round(output: np.ndarray, grey: bool, dtype: np.dtype) -> np.ndarray:
    if grey:
        output = cv2.cvtColor(output, cv2.COLOR_RGB2GRAY)
    return np.rint(output * np.float32(np.iinfo(dtype).max)).astype(dtype)


def _paste(result: np.ndarray, piece: np.ndarray, tile: Tile, factor: int) -> None:
    """Fill the part of `result` that `tile` keeps; padding beyond `result` is cut off."""
    rows = slice(tile.keep_top * factor, tile.keep_bottom * factor)
    target = result[rows, tile.keep_left * factor : tile.keep_right * factor]
    top, left = (tile.keep_top - tile.top) * factor, (tile.keep_left - tile.left) * factor
    target[...] = piece[top : top + target.shape[0], left : left + target.shape[1]]
