"""How the kernel divides the work: the tiles among which autotuning chooses, and what they need of a GPU."""

from __future__ import annotations

import math
from dataclasses import dataclass

from wbcsr.engines.triton.layers import Layer

# Rows of pixels of the result in a tile; fixed in the kernel.
ROWS = 4
# Shared memory in KiB that a program may use, by compute capability (CUDA C++ Programming Guide, technical
# specifications); others have as much as 8.6.
SHARED_KIB = {80: 163, 87: 163, 90: 227, 100: 227, 103: 227}
LEAST_SHARED_KIB = 99


@dataclass(frozen=True)
class Tile:
    """ROWS × `columns` pixels, `depth` input channels at a time, loads of `stages` steps in flight, and `warps`."""

    columns: int
    depth: int
    stages: int
    warps: int

    def depth_for(self, inputs: int) -> int:
        """Return the number of channels per step: a divisor of `inputs`, at most `depth`."""
        return math.gcd(self.depth, inputs)

    def shared_bytes(self, layer: Layer) -> int:
        """Return how much shared memory the loads in flight take: ROWS + 2 rows of pixels and three matrices each."""
        values = (ROWS + 2) * self.columns + 3 * layer.outputs
        return self.stages * values * self.depth_for(layer.inputs) * 2


# Compute capability 9.0 and 10.x multiply out of shared memory, by groups of four warps with 64 rows of pixels. Others
# copy both factors to registers first, of which they need more.
FROM_SHARED = (Tile(64, 32, 3, 4), Tile(64, 64, 2, 4), Tile(128, 32, 3, 8), Tile(128, 64, 2, 8), Tile(64, 32, 4, 4))
FROM_REGISTERS = (Tile(32, 32, 3, 4), Tile(64, 32, 3, 4), Tile(64, 32, 3, 8), Tile(64, 16, 4, 8), Tile(128, 16, 3, 8))


def multiplies_from_shared(capability: int) -> bool:
    return capability // 10 in (9, 10)


def tiles_for(layer: Layer, capability: int) -> list[Tile]:
    """Return the tiles that fit; `capability` is the compute capability times ten. The first one is the default."""
    tiles = FROM_SHARED if multiplies_from_shared(capability) else FROM_REGISTERS
    limit = SHARED_KIB.get(capability, LEAST_SHARED_KIB) * 1024
    return [tile for tile in tiles if tile.shared_bytes(layer) <= limit]
