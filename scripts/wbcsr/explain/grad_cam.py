"""Grad-CAM: the regions of an image that support a predicted class."""

from __future__ import annotations

import torch
from captum.attr import LayerAttribution, LayerGradCam
from torch import Tensor, nn


def grad_cam(network: nn.Module, layer: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Grad-CAM (Selvaraju et al., ICCV 2017) of each image for one class, by captum.

    `images` (n, ...) go through `network`, which gives logits (n, classes) in a number format that has gradients;
    `targets`, (n,) int64, are the classes to explain, and `layer` gives (n, channels, h, w). The result is
    (n, h, w) float32 in 0 to 1: the channels summed, each weighted by the mean gradient of the class's logit,
    negative values left out, and each image's map divided by its largest value. A map without a positive value stays
    zero: no region supports the class.
    """
    with torch.enable_grad():
        maps = LayerGradCam(network, layer).attribute(images, targets, relu_attributions=True)
    maps = maps.detach()[:, 0].float()
    largest = maps.amax(dim=(1, 2), keepdim=True)
    return torch.where(largest > 0, maps / largest.clamp_min(torch.finfo(maps.dtype).tiny), maps)


def enlarge(maps: Tensor, side: int) -> Tensor:
    """(n, h, w) → (n, side, side): bilinear, so that a map covers its image."""
    return LayerAttribution.interpolate(maps[:, None], (side, side), "bilinear")[:, 0]
