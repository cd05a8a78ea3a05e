"""Small networks of the real architecture with random weights, and the settings to run them with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from wbcsr.config import complete
from wbcsr.files import sha256, write_json
from wbcsr.weights.networks import Architecture, empty_network

SCHEMA = Path(__file__).parents[2] / "config" / "schema.yaml"


def rrdbnet(scale: int = 4, blocks: int = 1, seed: int = 0) -> nn.Module:
    """basicsr's RRDBNet with few blocks; weights large enough that its output spans the range of an image."""
    torch.manual_seed(seed)
    return empty_network(Architecture("RRDBNet", scale, 64, blocks, 32, {4: 1, 2: 2, 1: 4}[scale]))


def write_weights(path: Path, scale: int = 4, seed: int = 0) -> Path:
    """Weights of a small network with their description beside, as the workflow keeps them."""
    save_file(rrdbnet(scale, seed=seed).state_dict(), path)
    write_json(path.with_suffix(".json"), {"sha256": sha256(path)})
    return path


def inference(**changes: Any) -> dict[str, Any]:
    """The configuration's section `inference` with some of its keys changed."""
    return complete({"inference": changes}, SCHEMA)["inference"]
