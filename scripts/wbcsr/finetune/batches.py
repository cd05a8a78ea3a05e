"""The training pairs of each step; they depend only on seed and step, so that a training can be resumed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from wbcsr.fidelity.regions import find_regions
from wbcsr.finetune import RATIO
from wbcsr.finetune.matched import Matched, Pixels, place
from wbcsr.finetune.second_order import degrade, seeded

# Side of the square, relative to the patch, that the second-order degradation blurs and shrinks: its kernels are wide.
CONTEXT = 2
# Fraction of the squares that are centred on a pixel of a white cell. Cells cover a twelfth of the study's photographs.
ON_CELLS = 0.5


@dataclass
class Batches:
    """Draws pairs of squares (see `Matched.draw`) from `photographs` (H, W, 3) uint8.

    `side` is that of the degraded square in pixels. Without `matched`, the second-order degradation is applied. Half of
    the squares (`ON_CELLS`) are centred on a random pixel of the white cell, or as near to it as the edge allows.
    """

    photographs: Sequence[Pixels]
    matched: Matched | None
    side: int
    size: int
    seed: int
    device: torch.device
    _small: dict[int, Pixels] = field(default_factory=dict)
    _cells: dict[int, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # The squares of a step have one size, whichever photographs they come from.
        self._context = min(CONTEXT * RATIO * self.side, _least_side(self.photographs))

    def draw(self, step: int, part: slice) -> tuple[Tensor, Tensor]:
        """The pairs of a step in `part` of its batch: (n, 3, side, side) and twice the side, float32 from 0 to 1."""
        generators = np.random.default_rng([self.seed, step]).spawn(self.size)[part]
        if self.matched is None:
            with seeded([self.seed, step, part.start]):
                high = torch.stack([_tensor(self._square(generator)) for generator in generators])
                return degrade(high.to(self.device), RATIO * self.side)
        pairs = [self._pair(self.matched, generator) for generator in generators]
        low, high = (torch.stack([_tensor(pair[which]) for pair in pairs]) for which in (0, 1))
        return low.to(self.device), high.to(self.device)

    def _pair(self, matched: Matched, generator: np.random.Generator) -> tuple[Pixels, Pixels]:
        number = int(generator.integers(len(self.photographs)))
        if number not in self._small:
            self._small[number] = matched.shrunk(self.photographs[number])
        return matched.draw(
            self.photographs[number], self._small[number], self.side, generator, self._aim(number, generator)
        )

    def _aim(self, number: int, generator: np.random.Generator) -> tuple[int, int] | None:
        """A random pixel (row, column) of a photograph's white cell; None if the square may be anywhere."""
        if generator.random() >= ON_CELLS:
            return None
        photograph = self.photographs[number]
        if number not in self._cells:
            self._cells[number] = np.flatnonzero(find_regions(photograph)["cell"]).astype(np.int32)
        pixels = self._cells[number]
        return divmod(int(generator.choice(pixels)), photograph.shape[1]) if len(pixels) else None

    def _square(self, generator: np.random.Generator) -> Pixels:
        """A random square of a photograph, turned by a multiple of 90° and perhaps mirrored."""
        number = int(generator.integers(len(self.photographs)))
        photograph, side, aim = self.photographs[number], self._context, self._aim(number, generator)
        top, left = (
            place(generator, length, side, aim and aim[axis]) for axis, length in enumerate(photograph.shape[:2])
        )
        square = np.rot90(photograph[top : top + side, left : left + side], int(generator.integers(4)))
        return square[:, ::-1] if generator.integers(2) else square


def largest_side(photographs: Sequence[Pixels], matched: Matched | None) -> int:
    """The largest `side` of `Batches` whose squares fit into every photograph in each direction that they can have."""
    least = _least_side(photographs) // RATIO
    # With a warp, the diagonal of a square may lie along the shorter side of a photograph.
    return int((least - 1) / math.sqrt(2)) + 1 if matched and matched.warp else least


def _least_side(photographs: Sequence[Pixels]) -> int:
    return min(min(photograph.shape[:2]) for photograph in photographs)


def _tensor(pixels: Pixels) -> Tensor:
    return torch.tensor(np.ascontiguousarray(pixels)).permute(2, 0, 1).float() / 255
