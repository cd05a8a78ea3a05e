"""Fidelity of a network inside the white cells of held-out photographs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from wbcsr.fidelity.metrics import compare, resize
from wbcsr.fidelity.regions import box_of, find_regions
from wbcsr.finetune import RATIO
from wbcsr.finetune.matched import Pixels

SCORES = ("psnr", "ssim", "ciede2000")
# Pixels of the degraded photograph around the cell that the network also sees.
CONTEXT = 16


@dataclass(frozen=True)
class Held:
    """The surroundings of a cell in a held-out photograph.

    `truth` (2 h, 2 w, 3) uint8 is the photograph, `cell` (2 h, 2 w) bool its cell, `low` (h, w, 3) uint8 the same part
    of the degraded photograph.
    """

    truth: Pixels
    cell: np.ndarray
    low: Pixels


def hold_out(photographs: Sequence[Pixels], degraded: Callable[[Pixels], Pixels]) -> list[Held]:
    """The cells of photographs (H, W, 3) uint8 with even sides; those in which no cell is found are left out."""
    found = []
    for photograph in photographs:
        cell = find_regions(photograph)["cell"]
        if not cell.any():
            continue
        low = degraded(photograph)
        x, y, width, height = box_of(cell)
        rows, columns = (
            slice(max(0, start // RATIO - CONTEXT), min(most, -(-(start + size) // RATIO) + CONTEXT))
            for start, size, most in ((y, height, low.shape[0]), (x, width, low.shape[1]))
        )
        twice = tuple(slice(RATIO * part.start, RATIO * part.stop) for part in (rows, columns))
        found.append(Held(photograph[twice], cell[twice], low[rows, columns]))
    return found


def score(enlarge: Callable[[Pixels], Pixels], cells: Sequence[Held]) -> dict[str, float]:
    """The mean `SCORES` over all cells; `enlarge` returns an image at twice the size."""
    measured = [compare(enlarge(each.low), each.truth, {"cell": each.cell})["cell"] for each in cells]
    return {name: float(np.mean([values[name] for values in measured])) for name in SCORES}


def bicubic(low: Pixels) -> Pixels:
    """Bicubic enlargement, the reference."""
    return resize(low, RATIO * low.shape[1], RATIO * low.shape[0])


def by_network(
    network: nn.Module, device: torch.device, autocast: AbstractContextManager[None]
) -> Callable[[Pixels], Pixels]:
    """Enlargement by a network; its output is shrunk to twice the size."""

    def enlarge(low: Pixels) -> Pixels:
        batch = torch.tensor(low, device=device).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode(), autocast:
            output = network(batch.to(memory_format=torch.channels_last))
        pixels = (output[0].float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        return resize(pixels, RATIO * low.shape[1], RATIO * low.shape[0])

    return enlarge
