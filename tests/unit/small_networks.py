"""Small networks of the real architecture, with random weights."""

from __future__ import annotations

import torch
from torch import nn

from wbcsr.weights.networks import Architecture, empty_network


def rrdbnet(scale: int = 4, blocks: int = 1, seed: int = 0) -> nn.Module:
    """basicsr's RRDBNet with few blocks; weights large enough that its output spans the range of an image."""
    torch.manual_seed(seed)
    return empty_network(Architecture("RRDBNet", scale, 64, blocks, 32, {4: 1, 2: 2, 1: 4}[scale]))
