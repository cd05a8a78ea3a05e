"""The network of an engine, and the images that it will process."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wbcsr.engines.backend import Backend, dtype_for
from wbcsr.engines.capability import DTYPES
from wbcsr.engines.profile import Size


@dataclass(frozen=True)
class Source:
    """A network to prepare: fp32, in evaluation mode, on the CPU, with inputs (batch, 3, height, width).

    `architecture` describes it, and `weights` is its file. Heights and widths of inputs are divisible by `multiple` and
    at least `least`. `rule` is the rule that builds the engine. `tiled` says whether images may be processed in tiles.
    If `exact_on_cpu` is true, `auto` uses fp32 on a CPU, and eager replaces a backend that does not support the
    network. `elements_per_pixel` is the size of the largest tensor, in elements per pixel of the input. `precisions`
    lists those in which the network works.
    """

    network: nn.Module
    architecture: dict[str, Any]
    weights: Path
    multiple: int
    rule: str
    tiled: bool
    exact_on_cpu: bool
    elements_per_pixel: int
    least: int = 0
    precisions: tuple[str, ...] = tuple(DTYPES)


@dataclass(frozen=True)
class Workload:
    """The images of an engine: their number by size (height, width), and the batch size by device."""

    images: Mapping[Size, int]
    batch: Mapping[str, int]


def prepare(network: nn.Module, backend: Backend, device: torch.device, precision: str) -> nn.Module:
    """Copy `network` to its device, in the dtype and memory format that the backend uses for this precision."""
    dtype = dtype_for(backend, precision)
    if precision == "fp32":
        # TF32 has only ten bits of mantissa, which is not fp32.
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    # A copy, because `to` changes a module in place.
    prepared = copy.deepcopy(network).to(device, dtype).to(memory_format=backend.memory_format(device, dtype))
    for parameter in prepared.parameters():
        parameter.requires_grad_(False)
    return prepared
