"""Data augmentation: random changes of training images that keep the class of a blood cell."""

from __future__ import annotations

import torch
from torch import Tensor

# Half widths of the uniform distributions, as fractions of the contrast and of the 8-bit range.
CONTRAST = 0.1
BRIGHTNESS = 0.05


def draw(images: int, generator: torch.Generator) -> Tensor:
    """Return the random numbers for `augment`: (5, images, 1, 1, 1) float32 from 0 to 1.

    `generator` is on the CPU, so that a seed gives the same numbers on every device.
    """
    return torch.rand((5, images, 1, 1, 1), generator=generator)


def augment(images: Tensor, draws: Tensor) -> Tensor:
    """Augment each image of a batch (n, side, side, 3) uint8 separately; returns float32, 0 to 255, of the same shape.

    Applies one of the square's eight symmetries with equal probability (flips and quarter turns; a blood smear has no
    preferred orientation), then changes the contrast around the image's mean, and the brightness. `draws` are the
    random numbers from `draw`, on the images' device. torchvision's transforms are not used because they change all
    images of a batch in the same way.
    """
    mirror, flip, transpose = draws[:3] < 0.5
    images = torch.where(mirror, images.flip(2), images)
    images = torch.where(flip, images.flip(1), images)
    images = torch.where(transpose, images.transpose(1, 2), images)
    contrast = 1 + CONTRAST * (2 * draws[3] - 1)
    brightness = 255 * BRIGHTNESS * (2 * draws[4] - 1)
    pixels = images.to(torch.float32).contiguous()
    mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
    return ((pixels - mean) * contrast + mean + brightness).clamp_(0, 255)
