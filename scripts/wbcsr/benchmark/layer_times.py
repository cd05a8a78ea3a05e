"""The time of each layer of the backend `triton` by a model of the GPU, beside the time measured.

The model counts, for each launch, what tensor cores, L2 cache and memory have to do, and takes the slowest of the
three. Run as a program, it prints its prediction for GPUs that are not at hand:

    python -m wbcsr.benchmark.layer_times H100 A100
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from wbcsr.benchmark.implementations import Case, Ours
from wbcsr.engines.capability import DTYPES
from wbcsr.engines.profile import Size
from wbcsr.engines.trace import trace
from wbcsr.engines.triton.layers import Layer, Plan, plan
from wbcsr.engines.triton.tiles import ROWS, Tile, multiplies_from_shared, tiles_for
from wbcsr.weights.networks import Architecture, empty_network

# Bytes of fp16 and bf16.
HALF = 2
# Seconds from the end of one kernel of a CUDA graph to the start of the next; assumed.
BETWEEN = 1.5e-6
# The rate of the L2 cache relative to that of the memory; assumed for GPUs not listed below.
CACHE_RATIO = 2.0


@dataclass(frozen=True)
class Gpu:
    """A GPU: rates in FLOP/s and bytes/s as programs reach them, and the L2 cache in bytes."""

    capability: int
    processors: int
    flops: float
    memory: float
    cache: float
    cache_bytes: float


# Processors and caches: NVIDIA's data sheets. Rates: 81 % of the tensor cores' peak in dense fp16 and 90 % of the
# memory's, as large matrix products and copies reach; those of the caches are assumed.
GPUS = {
    "H100": Gpu(90, 132, 798e12, 3.0e12, 5.5e12, 50e6),
    "A100": Gpu(80, 108, 253e12, 1.8e12, 4.0e12, 40e6),
}


@dataclass(frozen=True)
class Estimate:
    """Seconds of one launch; `floor` is that of the operations alone, counted by definition."""

    floor: float
    tensor_cores: float
    cache: float
    memory: float

    @property
    def seconds(self) -> float:
        return max(self.tensor_cores, self.cache, self.memory) + BETWEEN

    @property
    def limit(self) -> str:
        return max(("tensor_cores", "cache", "memory"), key=lambda part: getattr(self, part)).replace("_", " ")


def estimate(layer: Layer, tile: Tile, gpu: Gpu, size: Size, images: int) -> Estimate:
    """Predict one launch for `images` inputs of `size` (height, width)."""
    height, width = (side * layer.step.target.scale for side in size)
    pixels, module = images * height * width, layer.step.module
    programs = images * -(-height // ROWS) * -(-width // tile.columns) * (layer.columns // layer.outputs)
    # The busiest multiprocessor determines the time.
    waves = -(-programs // gpu.processors)
    work = 2 * 9 * layer.inputs * layer.outputs * ROWS * tile.columns
    rate = gpu.flops / gpu.processors * _share_of_tensor_cores(layer.outputs, gpu.capability)
    # Each program loads ROWS + 2 rows of pixels and three matrices for each of three horizontal positions.
    loaded = 3 * layer.inputs * ((ROWS + 2) * tile.columns + 3 * layer.outputs) * HALF
    own = pixels * layer.stored * HALF
    read = pixels * layer.inputs * HALF / (4 if layer.step.doubled else 1) + own * len(layer.addends)
    # What does not fit into the L2 cache comes from memory; what is written goes there in any case.
    missing = max(0.0, 1 - gpu.cache_bytes / (read + own))
    return Estimate(
        floor=2 * 9 * module.in_channels * module.out_channels * pixels / gpu.flops,
        tensor_cores=waves * work / rate,
        cache=(programs * loaded + own * (1 + len(layer.addends))) / gpu.cache,
        memory=(own + read * missing) / gpu.memory,
    )


def _share_of_tensor_cores(outputs: int, capability: int) -> float:
    """The share of their rate at which shared memory can feed the tensor cores, if they multiply out of it.

    Compute capability 9.0 multiplies 64×16 by 16×outputs values in outputs / 2 cycles, and reads 128 bytes per cycle.
    """
    if not multiplies_from_shared(capability):
        return 1.0
    return min(1.0, outputs / 2 / ((64 + outputs) * 16 * HALF / 128))


def predict(planned: Plan, gpu: Gpu, size: Size, batch: int) -> tuple[int, dict[str, tuple[Tile, Estimate]]]:
    """Return how many images at once the model prefers, and tile and estimate of each `Layer.shape` for those."""

    def at_once(images: int) -> dict[str, tuple[Tile, Estimate]]:
        found = {}
        for layer in planned.layers:
            if layer.shape not in found:
                tried = [(tile, estimate(layer, tile, gpu, size, images)) for tile in tiles_for(layer, gpu.capability)]
                found[layer.shape] = min(tried, key=lambda pair: pair[1].seconds)
        return found

    def seconds(images: int) -> float:
        found = at_once(images)
        return sum(found[layer.shape][1].seconds for layer in planned.layers) / images

    images = min((count for count in range(1, batch + 1) if batch % count == 0), key=seconds)
    return images, at_once(images)


def measure_layers(implementation: Ours, case: Case, batch: int, flops: float, memory: float) -> list[dict[str, Any]]:
    """In a process: measure each kind of layer of an engine that was built; return rows with the model's times.

    `flops` and `memory` are the rates (FLOP/s, bytes/s) that the device reached in this benchmark.
    """
    from wbcsr.engines.backends import BACKENDS
    from wbcsr.engines.source import prepare
    from wbcsr.engines.triton.network import Choice, Network
    from wbcsr.engines.triton.tuning import measure
    from wbcsr.files import read_json
    from wbcsr.upscale import upscaler

    device = torch.device(implementation.device)
    properties = torch.cuda.get_device_properties(device)
    gpu = Gpu(
        10 * properties.major + properties.minor,
        properties.multi_processor_count,
        flops,
        memory,
        CACHE_RATIO * memory,
        properties.L2_cache_size,
    )
    source, architecture = upscaler.source(case.weights)
    height, width = (-(-side // architecture.multiple) * architecture.multiple for side in case.size)
    choice = Choice.from_json(read_json(implementation.engine(case).with_name("program.pt2")))
    network = Network(prepare(source.network, BACKENDS["triton"], device, implementation.precision), choice)
    images = min(batch, choice.together)
    example = torch.rand((images, 3, height, width)).to(device, DTYPES[implementation.precision])
    bound = network.bind(example.shape)
    bound.run(example)  # real values need more power than zeros
    inner = (height // network.plan.unshuffle, width // network.plan.unshuffle)
    rows, numbers = [], {layer.shape: number for number, layer in enumerate(network.plan.layers)}
    for shape, count in Counter(layer.shape for layer in network.plan.layers).items():
        tile = choice.tiles[shape]
        expected = estimate(network.plan.layers[numbers[shape]], tile, gpu, inner, images)
        measured = measure(bound, numbers[shape], tile, images)
        about = {"precision": implementation.precision, "batch_size": batch, "images_at_once": images}
        rows.append({**about, **_row(shape, count, tile, expected, images), "measured_ms": measured * 1000 / images})
    return rows


def _row(shape: str, count: int, tile: Tile, expected: Estimate, images: int) -> dict[str, Any]:
    """Milliseconds per image of one layer of a kind."""
    return {
        "layer": shape,
        "layers": count,
        "tile": f"{ROWS}×{tile.columns}, depth {tile.depth}, {tile.stages} stages, {tile.warps} warps",
        "limit": expected.limit,
        "floor_ms": expected.floor * 1000 / images,
        "predicted_ms": expected.seconds * 1000 / images,
    }


def table(planned: Plan, gpu: Gpu, size: Size, batches: Sequence[int]) -> list[str]:
    """Return the lines of a Markdown table: milliseconds per image, all layers of a kind together."""
    found = {batch: predict(planned, gpu, size, batch) for batch in batches}
    counts = Counter(layer.shape for layer in planned.layers)
    heads = [f"batch {batch}, {found[batch][0]} at once" for batch in batches]
    lines = [
        f"| layers | floor | {' | '.join(heads)} | limit |",
        "| --- | ---: |" + " ---: |" * len(batches) + " --- |",
    ]

    def milliseconds(of: Mapping[str, tuple[Tile, Estimate]], images: int, shape: str, part: str) -> float:
        return getattr(of[shape][1], part) * counts[shape] * 1000 / images

    totals = [0.0] * (1 + len(batches))
    for shape, count in counts.items():
        images, first = found[batches[0]]
        cells = [milliseconds(first, images, shape, "floor")]
        cells += [milliseconds(of, images, shape, "seconds") for images, of in found.values()]
        totals = [total + cell for total, cell in zip(totals, cells, strict=True)]
        limits = " or ".join(dict.fromkeys(of[shape][1].limit for _, of in found.values()))
        lines.append(f"| {count} of {shape} | {' | '.join(f'{cell:.3f}' for cell in cells)} | {limits} |")
    return [*lines, f"| all | {' | '.join(f'{total:.2f}' for total in totals)} | |"]


def main() -> None:
    """Print the prediction for x4plus."""
    parser = argparse.ArgumentParser(description="Predict the time of x4plus with the backend triton, in ms per image.")
    parser.add_argument("gpus", nargs="+", choices=GPUS)
    parser.add_argument("--size", nargs=2, type=int, default=[240, 320], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 4, 8])
    asked = parser.parse_args()
    planned = plan(trace(empty_network(Architecture("RRDBNet", 4, 64, 23, 32, 1))))
    for name in asked.gpus:
        print(f"\n{name}\n", *table(planned, GPUS[name], (asked.size[0], asked.size[1]), asked.batches), sep="\n")


if __name__ == "__main__":
    main()
