"""The served networks: image bytes in, image bytes or probabilities out.

Both include all steps between a client's image and the network, so that clients need not normalise or resize. They run
on CPU and GPU. All their operators can be exported and are supported by TensorRT. Their pixels are those of
`wbcsr.pixels`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from wbcsr.classify.networks import RGB
from wbcsr.engines.profile import Size, allowed_side
from wbcsr.pixels import bilinear


class Upscaler(nn.Module):
    """(n, height, width, 3) uint8 RGB of one `size` → (n, height * scale, width * scale, 3) uint8 RGB."""

    def __init__(
        self, network: nn.Module, dtype: torch.dtype, size: Size, scale: int, multiple: int, least: int = 0
    ) -> None:
        super().__init__()
        self.network = network
        self.dtype = dtype
        self.enlarged = (size[0] * scale, size[1] * scale)
        self.below, self.right = (allowed_side(side, multiple, least) - side for side in size)

    def forward(self, images: Tensor) -> Tensor:
        # Float first: TensorRT cannot move bytes, it can only cast them.
        values = images.float().permute(0, 3, 1, 2) / 255
        if self.below or self.right:
            values = functional.pad(values, (0, self.right, 0, self.below), mode="reflect")
        output = self.network(values.to(self.dtype)).float()[:, :, : self.enlarged[0], : self.enlarged[1]]
        pixels = output.permute(0, 2, 3, 1).nan_to_num(nan=0.0).clamp(0, 1) * 255
        return pixels.round().to(torch.uint8)


class Classifier(nn.Module):
    """(n, height, width, 3) uint8 RGB of one `size` → (n, classes) float32, probabilities that add up to 1.

    Images are resized to `side`, the size used in training, as in `wbcsr.pixels.to_square`, and normalised with `mean`
    and `std`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, dtype: torch.dtype, size: Size, side: int, mean: RGB, std: RGB) -> None:
        super().__init__()
        self.resize = Resize(size, side)
        self.network = network
        self.dtype = dtype
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        values = self.resize(images).permute(0, 3, 1, 2).float()
        normalised = (values - self.mean) / self.std
        return self.network(normalised.to(self.dtype)).float().softmax(1)


class Resize(nn.Module):
    """(n, height, width, 3) uint8 of one `size` → (n, side, side, 3) int32 with the same values as `pixels.to_square`.

    The arithmetic is that of `to_square`, with 32-bit integers. All taps of a pass are gathered at once, which gives
    the compiler a few operators instead of a few per tap.
    """

    def __init__(self, size: Size, side: int) -> None:
        super().__init__()
        lengths = {1: size[0], 2: size[1]}
        self.passes = bilinear.passes(*size, side)
        for axis in self.passes:
            first, shares = bilinear.weights(lengths[axis], side, torch.device("cpu"))
            taps = torch.arange(len(shares), dtype=torch.int32)[:, None]
            # Beyond the last pixel the weight is 0, so any pixel can be read.
            self.register_buffer(f"positions{axis}", (first + taps).clamp(max=lengths[axis] - 1))
            self.register_buffer(f"shares{axis}", shares)

    def forward(self, images: Tensor) -> Tensor:
        # Through float, because TensorRT casts bytes to no other type; float holds bytes exactly.
        pixels = images.float().to(torch.int32)
        for axis in self.passes:
            positions, shares = self.get_buffer(f"positions{axis}"), self.get_buffer(f"shares{axis}")
            gathered = pixels.index_select(axis, positions.flatten()).unflatten(axis, positions.shape)
            total = (gathered * shares.view(*shares.shape, *[1] * (3 - axis))).sum(axis, dtype=torch.int32)
            # Adding one half makes the division round.
            half = 1 << (bilinear.PRECISION_BITS - 1)
            pixels = torch.div(total + half, 2 * half, rounding_mode="floor").clamp(max=255)
        return pixels
