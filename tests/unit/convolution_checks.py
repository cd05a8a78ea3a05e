"""Checks of the kernel of the backend `triton` against PyTorch, under Triton's interpreter or on a GPU.

Run as a script, this module checks it under the interpreter. TRITON_INTERPRET=1 must be set before triton is imported,
so this needs a separate process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import nn

from small_networks import rrdbnet
from wbcsr.engines.trace import trace
from wbcsr.engines.triton.layers import plan
from wbcsr.engines.triton.tiles import Tile

HALVES = (torch.float16, torch.bfloat16)


class Layers(nn.Module):
    """Two convolutions into one buffer, then one of both with every kind of epilogue, perhaps after enlargement."""

    def __init__(self, channels: tuple[int, int, int], slope: float, addends: int, doubled: bool) -> None:
        super().__init__()
        given, grown, last = channels
        self.first, self.second = nn.Conv2d(given, grown, 3, padding=1), nn.Conv2d(given + grown, given, 3, padding=1)
        self.grow, self.last = nn.Conv2d(given, given, 3, padding=1), nn.Conv2d(given, last, 3, padding=1, bias=False)
        self.activation, self.addends, self.doubled = nn.LeakyReLU(slope), addends, doubled

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        before = self.grow(x)
        after = self.second(torch.cat((before, self.activation(self.first(before))), 1))
        if self.addends > 0:
            after = after * 0.2 + before
        if self.addends > 1:
            after = after * -0.5 + x
        return self.last(F.interpolate(after, scale_factor=2, mode="nearest") if self.doubled else after)


def run(network: nn.Module, batch: torch.Tensor, tile: Tile, together: int) -> torch.Tensor:
    """The network's output by the kernel, with the same tile for every layer."""
    from wbcsr.engines.triton.network import Choice, Network  # imports triton

    shapes = {layer.shape for layer in plan(trace(network)).layers}
    return Network(network, Choice(together, dict.fromkeys(shapes, tile)))(batch)


def psnr(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """In dB, for values from 0 to 1; NaN if a value is NaN."""
    return float(-10 * torch.log10((ours.float() - theirs.float()).square().mean()))


# Without shrinking, which takes minutes under the interpreter.
@settings(max_examples=8, deadline=None, derandomize=True, phases=[Phase.generate])
@given(
    shape=st.tuples(st.integers(1, 3), st.sampled_from((1, 2, 5)), st.sampled_from((1, 3, 17, 18))),
    together=st.integers(1, 3),
    channels=st.sampled_from(((5, 7, 3), (16, 16, 16), (19, 3, 70), (32, 16, 1))),
    slope=st.sampled_from((0.0, 0.2, 1.0)),
    addends=st.integers(0, 2),
    doubled=st.booleans(),
    depth=st.sampled_from((16, 32)),
    dtype=st.sampled_from(HALVES),
)
@torch.inference_mode()
def check_layers(
    device: str,
    shape: tuple[int, int, int],
    together: int,
    channels: tuple[int, int, int],
    slope: float,
    addends: int,
    doubled: bool,
    depth: int,
    dtype: torch.dtype,
) -> None:
    """Sides of one pixel, sides that fill no tile, channels that fill no block, and batches that fill no group."""
    torch.manual_seed(sum(shape))
    network = Layers(channels, slope, addends, doubled).to(device, dtype)
    batch = torch.rand(shape[0], channels[0], *shape[1:]).to(device, dtype)
    expected = network.float()(batch.float())
    found = run(network.to(dtype), batch, Tile(16, depth, 2, 4), together)
    assert found.shape == expected.shape
    # A few roundings to 8 or 11 bits; one wrong weight or pixel would cause a larger difference.
    error = (found.float() - expected).abs().max() / expected.abs().max()
    assert error < {torch.float16: 0.004, torch.bfloat16: 0.03}[dtype], float(error)


def spread(network: nn.Module, batch: torch.Tensor) -> nn.Module:
    """Give each layer weights that keep the size of its values, and let the output span the range of an image."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, 0.2)
            nn.init.normal_(module.bias, std=0.1)
    output = network(batch)
    network.conv_last.weight *= 0.2 / output.std()
    network.conv_last.bias.zero_().add_(0.5 - 0.2 * output.mean() / output.std())
    return network


@torch.inference_mode()
def check_a_short_rrdbnet(device: str) -> None:
    for dtype in HALVES:
        for scale, size in ((4, (2, 5)), (2, (6, 2))):
            batch = torch.rand((1, 3, *size), generator=torch.Generator().manual_seed(0)).to(dtype).to(device)
            network = spread(rrdbnet(scale).to(device), batch.float())
            exact = network(batch.float())
            eager = network.to(dtype)(batch)
            found = run(network, batch, Tile(16, 64, 2, 4), 1)
            assert min(psnr(found, eager), psnr(found, exact)) >= 48, f"x{scale}, {dtype}"


@torch.inference_mode()
def check_non_finite_values_remain(device: str) -> None:
    """The quality check looks for them, so they must not become finite; unread memory must not add any."""
    network = Layers((5, 7, 3), 0.2, 2, False).to(device, torch.float16)
    batch = torch.rand(1, 5, 5, 6, device=device).half()
    assert run(network, batch, Tile(16, 16, 2, 4), 1).isfinite().all()
    batch[0, 0, 2, 2] = float("nan")
    assert run(network, batch, Tile(16, 16, 2, 4), 1).isnan().any()


CHECKS: tuple[Callable[[str], None], ...] = (check_layers, check_a_short_rrdbnet, check_non_finite_values_remain)


def mend_bfloat16() -> None:
    """Let the interpreter compute in bfloat16 as a GPU does: it multiplies the bits and truncates when it converts."""
    import triton.language as tl
    from triton.runtime import interpreter

    convert, builder = interpreter._convert_float, interpreter.InterpreterBuilder
    dot = builder.create_dot

    def widen(bits: np.ndarray) -> np.ndarray:
        return (bits.astype(np.uint32) << 16).view(np.float32)

    def rounded(values: np.ndarray, given: Any, wanted: Any, mode: Any) -> np.ndarray:
        if (given, wanted) == (tl.bfloat16, tl.float32):
            return widen(values)
        if (given, wanted) == (tl.float32, tl.bfloat16):
            return torch.from_numpy(values.view(np.float32)).bfloat16().view(torch.uint16).numpy()
        return convert(values, given, wanted, mode)

    def create_dot(self: Any, left: Any, right: Any, *others: Any) -> Any:
        if left.dtype.scalar == tl.bfloat16:
            left, right = (interpreter.TensorHandle(widen(factor.data), tl.float32) for factor in (left, right))
        return dot(self, left, right, *others)

    interpreter._convert_float = rounded
    builder.create_dot = create_dot


if __name__ == "__main__":
    torch.set_num_threads(1)
    mend_bfloat16()
    for check in CHECKS:
        check("cpu")
        print(check.__name__, "passed")
