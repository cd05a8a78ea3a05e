"""Choose the tiles and the number of images at once by measuring them on this GPU."""

from __future__ import annotations

import logging
from collections import Counter

import torch
from torch import nn
from triton.runtime.errors import OutOfResources
from triton.testing import do_bench_cudagraph

from wbcsr.engines.trace import trace
from wbcsr.engines.triton.layers import plan
from wbcsr.engines.triton.network import Bound, Choice, Network
from wbcsr.engines.triton.tiles import Tile, tiles_for

log = logging.getLogger(__name__)

# Milliseconds of one of ten repeated measurements of each tile and kind of layer.
MEASURED_MS = 2


@torch.inference_mode()
def tune(network: nn.Module, example: torch.Tensor, capability: int) -> Choice:
    """Return the fastest choice for batches like `example`; `capability` is the compute capability times ten.

    Few images at once keep the buffer of a dense block in the L2 cache; many fill the GPU evenly.
    """
    parts, batch = plan(trace(network)).layers, len(example)
    ready = Network(network, Choice(1, {layer.shape: tiles_for(layer, capability)[0] for layer in parts}))
    found = [_tune(ready, example, together, capability) for together in range(1, batch + 1) if batch % together == 0]
    seconds, choice = min(found, key=lambda pair: pair[0])
    log.info("triton: %d images at once, %.3g ms per image", choice.together, seconds * 1000)
    return choice


def _tune(ready: Network, example: torch.Tensor, together: int, capability: int) -> tuple[float, Choice]:
    """Return the seconds per image and the fastest tiles if `together` images pass through all layers at once."""
    bound = ready.bind(example[:together].shape, together)
    bound.run(example[:together])  # real values need more power than zeros
    tiles, total, numbers = {}, 0.0, {layer.shape: number for number, layer in enumerate(ready.plan.layers)}
    for shape, count in Counter(layer.shape for layer in ready.plan.layers).items():
        number = numbers[shape]
        fitting = tiles_for(ready.plan.layers[number], capability)
        seconds, tiles[shape] = min(
            ((measure(bound, number, tile, together), tile) for tile in fitting), key=lambda pair: pair[0]
        )
        total += seconds * count
    return total / together, Choice(together, tiles)


def measure(bound: Bound, number: int, tile: Tile, count: int) -> float:
    """Return the median seconds of one layer for `count` images; infinity if the tile needs too much of the GPU."""
    try:
        found = do_bench_cudagraph(
            lambda: bound.convolve(number, tile, 0, count), rep=MEASURED_MS, return_mode="median"
        )
    except OutOfResources:
        return float("inf")
    return float(found) / 1000
