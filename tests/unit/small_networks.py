"""Small networks of the real architecture with random weights, images for them, and settings to run them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from wbcsr.config.schema import complete
from wbcsr.engines.source import Workload
from wbcsr.files import sha256, write_json
from wbcsr.upscale.store import MANIFEST_COLUMNS
from wbcsr.weights import networks

without_gpu = pytest.mark.skipif(
    torch.cuda.is_available(), reason="errors on a machine without a GPU were not tested: this one has a GPU"
)
SCHEMA = Path(__file__).parents[2] / "config" / "schema.yaml"


def rrdbnet(scale: int = 4, blocks: int = 1, seed: int = 0) -> nn.Module:
    """basicsr's RRDBNet with few blocks; its weights are so large that the output spans the range of an image."""
    torch.manual_seed(seed)
    return networks.rrdbnet(blocks, unshuffle=4 // scale)


def compact(scale: int = 4, features: int = 8, blocks: int = 1, seed: int = 0) -> nn.Module:
    """realesrgan's SRVGGNetCompact, Real-ESRGAN's other architecture, which compiles faster."""
    from realesrgan.archs.srvgg_arch import SRVGGNetCompact

    torch.manual_seed(seed)
    return SRVGGNetCompact(num_feat=features, num_conv=blocks, upscale=scale, act_type="prelu").eval()


def write_weights(path: Path, scale: int = 4, seed: int = 0) -> Path:
    """Weights of a small network with their description next to them, as the workflow stores them."""
    return write_network(rrdbnet(scale, seed=seed), path)


def write_compact(path: Path) -> Path:
    """As `write_weights`, with the network `compact`."""
    return write_network(compact(), path)


def write_network(network: nn.Module, path: Path) -> Path:
    """The weights of a network with their description next to them, as the workflow stores them."""
    save_file({name: tensor.contiguous().clone() for name, tensor in network.state_dict().items()}, path)
    write_json(path.with_suffix(".json"), {"sha256": sha256(path)})
    return path


def inference(**changes: Any) -> dict[str, Any]:
    """The configuration section `inference` with some keys changed."""
    return complete({"inference": changes}, SCHEMA)["inference"]


def workload(images: int = 4, size: tuple[int, int] = (24, 32)) -> Workload:
    """A workload of `images` images of one size."""
    return Workload({size: images}, {"cpu": 1, "cuda": 2})


def write_cells(folder: Path, size: tuple[int, int]) -> Path:
    """Three smooth images and their manifest."""
    rows = []
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), cv2.GaussianBlur(noise, (0, 0), 2))
        rows.append([f"TRAIN/A/{number}.png", f"{number}.png", size[1], size[0], "", ""])
    pd.DataFrame(rows, columns=MANIFEST_COLUMNS).to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"
