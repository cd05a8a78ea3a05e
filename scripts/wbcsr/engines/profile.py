"""The shapes that an engine takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

Size = tuple[int, int]


@dataclass(frozen=True)
class Profile:
    """The input of an engine: (batch, 3, height, width), height and width from `min` to `max` (pixels).

    `opt` is the size that it is tuned for (names as in TensorRT's optimization profiles); `multiple` divides every
    height and width. The batch is always whole.
    """

    batch: int
    min: Size
    opt: Size
    max: Size
    multiple: int = 1

    @classmethod
    def fixed(cls, batch: int, height: int, width: int) -> Profile:
        """One size only, for which an engine is fastest."""
        return cls(batch, (height, width), (height, width), (height, width))

    @classmethod
    def covering(cls, batch: int, images: Mapping[Size, int], multiple: int, tile: int | None, fix: bool) -> Profile:
        """The profile for images of these sizes (and how many there are of each), larger ones cut into tiles of `tile`.

        Fixed to the most common size where `fix` is set or there is but one.
        """
        sizes: dict[Size, int] = {}
        for (height, width), count in images.items():
            size = (_side(height, multiple, tile), _side(width, multiple, tile))
            sizes[size] = sizes.get(size, 0) + count
        opt = max(sizes, key=lambda size: (sizes[size], size))
        if fix or len(sizes) == 1:
            return cls(batch, opt, opt, opt, multiple)
        heights, widths = zip(*sizes, strict=True)
        return cls(batch, (min(heights), min(widths)), opt, (max(heights), max(widths)), multiple)

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> Profile:
        """What `dataclasses.asdict` gave, after a file of JSON has made its tuples lists."""
        smallest, optimal, largest = (tuple(written[name]) for name in ("min", "opt", "max"))
        return cls(written["batch"], smallest, optimal, largest, written["multiple"])

    @property
    def is_fixed(self) -> bool:
        return self.min == self.max

    def require(self, batch: torch.Tensor) -> None:
        """ValueError where a batch is none that the engine takes; compiled programs do not look."""
        count, channels, height, width = batch.shape
        sides = zip((height, width), self.min, self.max, strict=True)
        inside = all(low <= side <= high and side % self.multiple == 0 for side, low, high in sides)
        if (count, channels) != (self.batch, 3) or not inside:
            raise ValueError(f"the engine takes {self} and not {tuple(batch.shape)}")

    def example(self, dtype: torch.dtype, device: torch.device, memory_format: torch.memory_format) -> torch.Tensor:
        """Random values 0 to 1 of the size `opt`; the same at each call."""
        batch = torch.rand((self.batch, 3, *self.opt), generator=torch.Generator().manual_seed(0))
        return batch.to(device=device, dtype=dtype, memory_format=memory_format)

    def dynamic_shapes(self) -> tuple[dict[int, object]] | None:
        """What `torch.export.export` calls dynamic_shapes; None where the size is fixed."""
        if self.is_fixed:
            return None
        sides: dict[int, object] = {}
        for axis, name in enumerate(("height", "width")):
            low, high = self.min[axis] // self.multiple, self.max[axis] // self.multiple
            if low < high:
                side = torch.export.Dim(name, min=low, max=high)
                sides[2 + axis] = self.multiple * side if self.multiple > 1 else side
        return (sides,)

    def __str__(self) -> str:
        sizes = [self.opt] if self.is_fixed else [self.min, self.opt, self.max]
        return f"{self.batch} of " + ", ".join(f"{height}x{width}" for height, width in sizes)


def _side(pixels: int, multiple: int, tile: int | None) -> int:
    # At least twice the multiple: torch.export takes a 1 for a constant, and would refuse a range that begins there.
    side = max(2, -(-pixels // multiple)) * multiple
    return side if tile is None else min(side, tile - tile % multiple)
