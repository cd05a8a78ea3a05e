"""Run a planned network with the kernel: its weights, its buffers, and its launches."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from wbcsr.engines.pytorch import CudaGraph
from wbcsr.engines.trace import trace
from wbcsr.engines.triton.kernels import convolve
from wbcsr.engines.triton.layers import Layer, Place, Plan, plan
from wbcsr.engines.triton.tiles import Tile
from wbcsr.errors import InputError

# The kernel counts the elements of one image in 32 bits.
MOST_ELEMENTS = 2**31 - 1


@dataclass(frozen=True)
class Choice:
    """What autotuning chose: a tile for each `Layer.shape`, and how many images pass through all layers together."""

    together: int
    tiles: Mapping[str, Tile]

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> Choice:
        """Restore a choice from the JSON form of `dataclasses.asdict`."""
        return cls(written["together"], {shape: Tile(**tile) for shape, tile in written["tiles"].items()})

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Network:
    """A network in fp16 or bf16, which holds buffers for one batch shape at a time.

    If `recorded`, all launches for a shape are recorded as one CUDA graph, which pays if the shape rarely changes.
    """

    def __init__(self, network: nn.Module, choice: Choice, recorded: bool = False) -> None:
        self.plan, self._choice, self._recorded = plan(trace(network)), choice, recorded
        parameter = next(network.parameters())
        self._matrices = [layer.matrices(parameter.dtype, parameter.device) for layer in self.plan.layers]
        self._shape: torch.Size | None = None
        self._bound: Bound | None = None
        self._run: Callable[[torch.Tensor], torch.Tensor] | None = None

    @torch.inference_mode()
    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        if self._run is None or self._shape != batch.shape:
            self._run = self._bound = None  # frees their memory before the next ones allocate
            # Kept, as a CUDA graph keeps only the addresses of the buffers.
            self._bound = self.bind(batch.shape)
            self._run = CudaGraph(self._bound.run, batch) if self._recorded else self._bound.run
            self._shape = batch.shape
        return self._run(batch)

    def bind(self, shape: torch.Size, together: int | None = None) -> Bound:
        """Return the network with buffers for batches of `shape`; `together` replaces the chosen number of images."""
        return Bound(self.plan, self._matrices, self._choice.tiles, together or self._choice.together, shape)


class Bound:
    """The layers with their buffers for batches of one shape; each call of `run` overwrites the same output."""

    def __init__(
        self,
        planned: Plan,
        matrices: list[tuple[torch.Tensor, torch.Tensor]],
        tiles: Mapping[str, Tile],
        together: int,
        shape: torch.Size,
    ) -> None:
        self._plan, self._matrices, self._tiles = planned, matrices, tiles
        self._together = min(together, shape[0])
        height, width = (side // planned.unshuffle for side in shape[2:])

        def create(images: int, scale: int, channels: int) -> torch.Tensor:
            size = (height * scale, width * scale, channels)
            if math.prod(size) > MOST_ELEMENTS:
                raise InputError(f"triton cannot run images of {height}×{width} pixels; lower inference.tile")
            # The zeros matter only in the buffer of the input, where they fill its block of channels.
            return matrices[0][0].new_zeros((images, *size))

        self._buffers = [create(self._together, buffer.scale, buffer.channels) for buffer in planned.buffers]
        last = planned.layers[-1].step.target
        self._output = create(shape[0], last.scale, last.channels)

    def run(self, batch: torch.Tensor) -> torch.Tensor:
        """Return the output (n, channels, height, width) for a batch, some images at a time."""
        for start in range(0, len(batch), self._together):
            images = F.pixel_unshuffle(batch[start : start + self._together], self._plan.unshuffle).movedim(1, 3)
            self._buffers[0][: len(images), ..., : images.shape[3]] = images
            for number, layer in enumerate(self._plan.layers):
                self.convolve(number, self._tiles[layer.shape], start, len(images))
        return self._output.movedim(3, 1)

    def convolve(self, number: int, tile: Tile, start: int, count: int) -> None:
        """Run one layer for `count` images; the last layer writes the outputs from `start` on."""
        layer: Layer = self._plan.layers[number]

        def view(place: Place) -> torch.Tensor:
            return self._buffers[place.buffer][:count, ..., place.offset :]

        target = view(layer.target) if layer.target else self._output[start : start + count]
        addends = [view(place) for place in layer.addends]
        convolve(layer, tile, view(layer.source), self._matrices[number], target, addends)
