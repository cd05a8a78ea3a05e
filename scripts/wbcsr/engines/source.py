"""What an engine is made of and for: a network with what is known of it, and the images that wait for it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wbcsr.engines.backend import Backend, dtype_for
from wbcsr.engines.profile import Size


@dataclass(frozen=True)
class Source:
    """A network to make ready: in fp32, in evaluation mode, on the CPU; it takes (batch, 3, height, width).

    `architecture` describes it, `weights` is the file that it came from, `multiple` divides every height and width of
    its input, and `rule` is the rule that builds its engine. `tiled` says whether it may be given an image in tiles.
    `elements_per_pixel` is the size of its largest layer's output, in elements for each pixel of the input.
    If `exact_on_cpu`, `auto` leaves it in fp32 on a CPU, and a backend that does not know it leaves it eager there.
    """

    network: nn.Module
    architecture: dict[str, Any]
    weights: Path
    multiple: int
    rule: str
    tiled: bool
    exact_on_cpu: bool
    elements_per_pixel: int


@dataclass(frozen=True)
class Workload:
    """What an engine is built for: how many images there are of each (height, width), and the batch by device."""

    images: Mapping[Size, int]
    batch: Mapping[str, int]


def prepare(network: nn.Module, backend: Backend, device: torch.device, precision: str) -> nn.Module:
    """A copy of `network` on its device, and in the dtype and memory format that its backend has for a precision."""
    dtype = dtype_for(backend, precision)
    if precision == "fp32":
        # TF32 keeps ten bits of a product's factors, which is not what fp32 says.
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    # A copy, since `to` changes the module itself, and the source is in fp32.
    prepared = copy.deepcopy(network).to(device, dtype).to(memory_format=backend.memory_format(device, dtype))
    for parameter in prepared.parameters():
        parameter.requires_grad_(False)
    return prepared
