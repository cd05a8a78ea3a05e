"""The input shapes of an engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

Size = tuple[int, int]


@dataclass(frozen=True)
class Profile:
    """The input shape of an engine: (batch, 3, height, width), with height and width (pixels) from `min` to `max`.

    The engine is tuned for `opt` (the names are those of TensorRT's optimization profiles). Height and width are
    divisible by `multiple`. The batch size is fixed.
    """

    batch: int
    min: Size
    opt: Size
    max: Size
    multiple: int = 1

    @classmethod
    def fixed(cls, batch: int, height: int, width: int) -> Profile:
        """A profile with a single size, which gives the fastest engine."""
        return cls(batch, (height, width), (height, width), (height, width))

    @classmethod
    def covering(
        cls, batch: int, images: Mapping[Size, int], multiple: int, tile: int | None, fix: bool, least: int = 0
    ) -> Profile:
        """Return the profile for `images` (number of images by size); larger ones are cut into tiles of `tile` pixels.

        Smaller sides than `least` become `least`. If `fix` is set or all sizes are equal, the profile is fixed to the
        most common size.
        """
        sizes: dict[Size, int] = {}
        for (height, width), count in images.items():
            size = (_side(height, multiple, tile, least), _side(width, multiple, tile, least))
            sizes[size] = sizes.get(size, 0) + count
        opt = max(sizes, key=lambda size: (sizes[size], size))
        if fix or len(sizes) == 1:
            return cls(batch, opt, opt, opt, multiple)
        heights, widths = zip(*sizes, strict=True)
        return cls(batch, (min(heights), min(widths)), opt, (max(heights), max(widths)), multiple)

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> Profile:
        """Restore a profile from the JSON form of `dataclasses.asdict`, in which tuples became lists."""
        smallest, optimal, largest = (tuple(written[name]) for name in ("min", "opt", "max"))
        return cls(written["batch"], smallest, optimal, largest, written["multiple"])

    @property
    def is_fixed(self) -> bool:
        return self.min == self.max

    def require(self, batch: torch.Tensor) -> None:
        """Raise ValueError if the engine does not accept the batch; compiled programs do not check it."""
        count, channels, height, width = batch.shape
        sides = zip((height, width), self.min, self.max, strict=True)
        inside = all(low <= side <= high and side % self.multiple == 0 for side, low, high in sides)
        if (count, channels) != (self.batch, 3) or not inside:
            raise ValueError(f"the engine takes {self}, not {tuple(batch.shape)}")

    def example(self, dtype: torch.dtype, device: torch.device, memory_format: torch.memory_format) -> torch.Tensor:
        """Return random values from 0 to 1 with size `opt`; each call returns the same values."""
        batch = torch.rand((self.batch, 3, *self.opt), generator=torch.Generator().manual_seed(0))
        return batch.to(device=device, dtype=dtype, memory_format=memory_format)

    def dynamic_shapes(self) -> tuple[dict[int, object]] | None:
        """Return the argument `dynamic_shapes` of `torch.export.export`; None for a fixed size."""
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


def allowed_side(pixels: int, multiple: int, least: int) -> int:
    """Return the smallest side of at least `pixels` and `least` that is divisible by `multiple`."""
    return -(-max(pixels, least) // multiple) * multiple


def _side(pixels: int, multiple: int, tile: int | None, least: int) -> int:
    # At least twice the multiple: torch.export treats 1 as a constant and rejects a range that starts at 1.
    side = allowed_side(pixels, multiple, max(least, 2 * multiple))
    return side if tile is None else min(side, tile - tile % multiple)
