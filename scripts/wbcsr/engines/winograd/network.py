"""Run a traced network: transform its weights, arrange its images in planes, and call the compiled code."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from wbcsr.engines.backend import UnloadableError
from wbcsr.engines.trace import Convolution, Image, Trace

# Matrix G of F(4×4, 3×3) for the points in convolutions.cpp: maps three kernel values to six transformed ones.
KERNEL = torch.tensor(
    [[1, 0, 0], [-2 / 3, -(2**0.5) / 3, -1 / 3], [-2 / 3, 2**0.5 / 3, -1 / 3],
     [1 / 6, 2**0.5 / 6, 1 / 3], [1 / 6, -(2**0.5) / 6, 1 / 3], [0, 0, 1]], dtype=torch.float64,
)  # fmt: skip


class _Layer(ctypes.Structure):
    """The struct `Layer` of convolutions.cpp."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("sources", "targets", "weights", "bias", "first", "second")),
        *((name, ctypes.c_int64) for name in ("inputs", "outputs", "height", "width", "doubled")),
        *((name, ctypes.c_float) for name in ("slope", "first_factor", "second_factor")),
    ]


class Library:
    """The compiled code, as a shared library."""

    def __init__(self, program: Path) -> None:
        try:
            self._library = ctypes.CDLL(str(program.resolve()))
        except OSError as error:
            raise UnloadableError(
                f"{program}: cannot be loaded ({error}); use a file system mounted without noexec, or "
                "set inference.backend to eager"
            ) from error
        self.lanes: int = self._library.lanes()
        self.columns: int = self._library.columns()
        self.together: int = self._library.together()
        # Factors with half the bits are multiplied in pairs.
        self.factors = {1: torch.float32, 2: torch.bfloat16}[self.together]

    def planes(self, channels: int) -> int:
        return -(-channels // self.lanes)

    def run(self, layers: ctypes.Array[_Layer]) -> None:
        """Run the layers with as many threads as PyTorch uses. Raises RuntimeError if memory or threads run out."""
        count, threads = ctypes.c_int64(len(layers)), ctypes.c_int64(torch.get_num_threads())
        if self._library.run(layers, count, threads):
            raise RuntimeError("winograd: the system has no memory or threads left")


class Network:
    """A traced network with transformed weights; it holds planes for one image size at a time."""

    def __init__(self, library: Library, traced: Trace) -> None:
        self._library = library
        self._traced = traced
        self._weights = [_transformed(convolution, library) for convolution in traced.convolutions]
        self._bound: _Bound | None = None

    # Inference mode also for the planes: they are overwritten at each call.
    @torch.inference_mode()
    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        if self._traced.unshuffle > 1:
            batch = F.pixel_unshuffle(batch, self._traced.unshuffle)
        size = (batch.shape[2], batch.shape[3])
        if self._bound is None or self._bound.size != size:
            self._bound = None  # frees its memory before the next one allocates
            self._bound = _Bound(self._library, self._traced, self._weights, size)
        outputs = torch.empty((len(batch), *self._bound.output))
        for image, output in zip(batch, outputs, strict=True):
            self._bound.run(image, output)
        return outputs


class _Bound:
    """The layers and planes for inputs of one `size` (height, width); `output` is the shape of one output.

    Planes of an image that is no longer needed are reused for a later image with the same channels and scale.
    """

    def __init__(
        self,
        library: Library,
        traced: Trace,
        weights: Sequence[tuple[torch.Tensor, torch.Tensor]],
        size: tuple[int, int],
    ) -> None:
        self.size = size
        self._library = library
        self._kept: list[Any] = [weights]
        self._source, self._channels_in = self._planes(traced.source), traced.source.channels
        memory = {traced.source: self._source}
        layers = []
        free: dict[tuple[int, int], list[torch.Tensor]] = {}
        last_use = {image: at for at, step in enumerate(traced.convolutions) for image in _used(step)}
        for at, (step, packed) in enumerate(zip(traced.convolutions, weights, strict=True)):
            waiting = free.get((step.target.channels, step.target.scale))
            memory[step.target] = waiting.pop() if waiting else self._planes(step.target)
            layers.append(self._layer(step, packed, memory))
            for image in set(_used(step)):
                if last_use[image] == at and image is not traced.target:
                    free.setdefault((image.channels, image.scale), []).append(memory.pop(image))
        self._target, self.output = memory[traced.target], (traced.target.channels, *self._size(traced.target))
        self._layers = (_Layer * len(layers))(*layers)

    def run(self, image: torch.Tensor, output: torch.Tensor) -> None:
        """Write the network's output for `image` (channels, height, width) to `output`, float32 (`self.output`)."""
        if len(image) != self._channels_in:
            raise ValueError(f"the network takes {self._channels_in} channels, not {len(image)}")
        height, width = self.size
        for channel, values in enumerate(image):
            plane, lane = divmod(channel, self._library.lanes)
            self._source[plane, 1 : height + 1, 1 : width + 1, lane] = values
        self._library.run(self._layers)
        channels, height, width = self.output
        pixels = self._target[:, 1 : height + 1, 1 : width + 1]
        output.copy_(pixels.permute(0, 3, 1, 2).flatten(0, 1)[:channels])

    def _size(self, image: Image) -> tuple[int, int]:
        height, width = self.size
        return height * image.scale, width * image.scale

    def _planes(self, image: Image) -> torch.Tensor:
        """Return zeros (planes, rows, columns, lanes), including the border described in convolutions.cpp."""
        height, width = (-(-side // 4) * 4 + 2 for side in self._size(image))
        planes = torch.zeros(self._library.planes(image.channels), height, width, self._library.lanes)
        self._kept.append(planes)
        return planes

    def _layer(
        self, step: Convolution, packed: tuple[torch.Tensor, torch.Tensor], memory: Mapping[Image, torch.Tensor]
    ) -> _Layer:
        weights, bias = packed
        sources = self._pointers(memory[image] for image in step.sources)
        targets = self._pointers([memory[step.target]])
        addends = [(self._pointers([memory[image]]), factor) for image, factor in step.addends]
        nothing: tuple[None, float] = (None, 0.0)
        (first, first_factor), (second, second_factor) = [*addends, nothing, nothing][:2]
        height, width = self._size(step.target)
        return _Layer(
            sources=ctypes.addressof(sources),
            targets=ctypes.addressof(targets),
            weights=weights.data_ptr(),
            bias=bias.data_ptr(),
            first=first and ctypes.addressof(first),
            second=second and ctypes.addressof(second),
            inputs=len(sources),
            outputs=len(targets),
            height=height,
            width=width,
            doubled=step.doubled,
            slope=step.slope,
            first_factor=first_factor,
            second_factor=second_factor,
        )

    def _pointers(self, images: Iterable[torch.Tensor]) -> ctypes.Array[ctypes.c_void_p]:
        """Return the addresses of the planes of `images`, in order."""
        places = [plane.data_ptr() for image in images for plane in image]
        array = (ctypes.c_void_p * len(places))(*places)
        self._kept.append(array)
        return array


def _used(step: Convolution) -> list[Image]:
    return [*step.sources, *(image for image, _ in step.addends), step.target]


def _transformed(step: Convolution, library: Library) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weights and bias (lanes * planes) of a convolution in the layout of `Layer` in convolutions.cpp.

    Missing channels of the last plane are zeros. Both contain the convolution's factor: an activation with a slope
    between 0 and 1 is linear in a positive factor.
    """
    module, lanes = step.module, library.lanes
    width = library.columns * lanes
    panels = -(-module.out_channels // width)
    channels = sum(library.planes(image.channels) for image in step.sources) * lanes
    filled = torch.zeros(36, panels * width, channels, dtype=library.factors)
    # Computed in fp64, so that each weight is rounded only once.
    kernels = torch.einsum("ak,oikl,bl->aboi", KERNEL, module.weight.double() * step.factor, KERNEL).flatten(0, 1)
    taken = placed = 0
    for image in step.sources:
        kernel = kernels[:, :, taken : taken + image.channels]
        filled[:, : module.out_channels, placed : placed + image.channels] = kernel.to(library.factors)
        taken, placed = taken + image.channels, placed + library.planes(image.channels) * lanes
    bias = torch.zeros(library.planes(module.out_channels) * lanes)
    if module.bias is not None:
        bias[: module.out_channels] = module.bias * step.factor
    grouped = filled.unflatten(2, (-1, library.together)).unflatten(1, (panels, width))
    return grouped.transpose(2, 3).contiguous(), bias
