"""Random changes of training images under which a blood cell keeps its class."""

from __future__ import annotations

import torch
from torch import Tensor

# Half widths of the uniform distributions, in shares of the contrast and of the 8-bit range.
CONTRAST = 0.1
BRIGHTNESS = 0.05


def draw(images: int, generator: torch.Generator) -> Tensor:
    """The chances of `images` images, (5, images, 1, 1, 1) float32 from 0 to 1, for `augment`.

    `generator` lives on the CPU, so that a seed means the same on each device.
    """
    return torch.rand((5, images, 1, 1, 1), generator=generator)


def augment(images: Tensor, draws: Tensor) -> Tensor:
    """Change each image of a batch (n, side, side, 3) uint8 on its own; returns float32, 0 to 255, of that shape.

    One of the square's eight symmetries (flips and quarter turns; a smear has no upright), each as likely, then the
    contrast about the image's mean and the brightness. `draws` come from `draw` and lie on the images' device, where
    all of it happens. torchvision's transforms would change all images of a batch alike: they draw once per call.
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
