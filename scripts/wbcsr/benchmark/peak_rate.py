"""What a device reaches: FLOP/s of a large convolution and a large matrix product, bytes/s of a large copy.

Also the work of a network, to which these rates are compared.

A network can exceed it with Winograd's algorithm, which needs fewer multiplications than the definition of a
convolution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from wbcsr.benchmark.clocks import device_clock
from wbcsr.benchmark.workers import Run, timed
from wbcsr.engines.capability import DTYPES

Kind = tuple[str, str]  # device and precision

CHANNELS, HEIGHT, WIDTH = 512, 60, 80
# Batch size of the convolution and side of the matrices, by device; each takes tens of milliseconds or more.
BATCH = {"cpu": 1, "cuda": 64}
SIDE = {"cpu": 2048, "cuda": 8192}
# Bytes of a copy, by device; more than its caches hold.
COPIED = {"cpu": 2**29, "cuda": 2**32}


def flops_of(network: nn.Module, size: tuple[int, int]) -> int:
    """Return the multiplications and additions of `network` for one image of `size` (height, width), by definition.

    `network` is moved to the meta device and cannot run afterwards.
    """
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network.to("meta")(torch.empty((1, 3, *size), device="meta"))
    return counter.get_total_flops()


def bytes_of(network: nn.Module, shape: tuple[int, int, int, int], dtype: torch.dtype) -> int:
    """Return the bytes that eager operations of `network` read and write for a batch of `shape`, from tensor shapes.

    `network` is moved to the meta device and cannot run afterwards.
    """
    network, batch = network.to("meta", dtype), torch.empty(shape, device="meta", dtype=dtype)
    with torch.inference_mode(), _Bytes() as counter:
        network(batch)
    return counter.total


class _Bytes(TorchDispatchMode):
    """Adds the sizes of the inputs and outputs of all operations; a view moves nothing."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, output)) if isinstance(leaf, torch.Tensor)]
            self.total += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return output


def copy_rate(device: str) -> float:
    """Return the bytes/s that the best of several large copies in the memory of `device` reads and writes."""
    source = torch.zeros(COPIED[device], dtype=torch.uint8, device=device)
    target, clock, rates = torch.empty_like(source), device_clock(torch.device(device)), []
    for _ in range(5):
        start = clock.mark()
        target.copy_(source)
        rates.append(2 * source.numel() / clock.seconds(start, clock.mark()))
    return max(rates)


def make_peak_rate(kinds: Sequence[Kind], threads: int) -> Callable[[], Run]:
    """In a worker: return a function that measures the peak rate in FLOP/s for each device and precision."""
    torch.set_num_threads(threads)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    products = {kind: _products(*kind) for kind in kinds}

    def measure() -> dict[Kind, float]:
        with torch.inference_mode():
            return {kind: max(_rate(kind[0], *product) for product in of) for kind, of in products.items()}

    measure()
    return partial(timed, measure)


def _products(device: str, precision: str) -> list[tuple[float, Callable[[], object]]]:
    """Return pairs of work in FLOP and a function that does it: a 3×3 convolution (channels-last), a matrix product."""
    batch, side, dtype = BATCH[device], SIDE[device], DTYPES[precision]
    wide = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False)
    wide = wide.to(device, dtype).to(memory_format=torch.channels_last).requires_grad_(False)
    images = torch.rand((batch, CHANNELS, HEIGHT, WIDTH), device=device)
    images = images.to(dtype, memory_format=torch.channels_last)
    factor = torch.rand((side, side), device=device).to(dtype)
    return [
        (2.0 * 9 * CHANNELS**2 * HEIGHT * WIDTH * batch, lambda: wide(images)),
        (2.0 * side**3, lambda: factor @ factor),
    ]


def _rate(device: str, work: float, run: Callable[[], object]) -> float:
    clock = device_clock(torch.device(device))
    start = clock.mark()
    run()
    return work / clock.seconds(start, clock.mark())
