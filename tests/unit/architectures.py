"""Tiny networks with random weights, one for each of several architectures that people train for super-resolution."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from small_networks import compact, rrdbnet, write_network


def _spandrel(name: str, **sizes: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        torch.manual_seed(0)
        network = getattr(import_module(f"spandrel.architectures.{name}"), name)(**sizes)
        for parameter in network.parameters():
            # Layers that begin with zeros would hide what the others do.
            if not parameter.any():
                nn.init.normal_(parameter, std=0.02)
        return network.eval()

    return make


WINDOWS = {"img_size": 16, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 2], "mlp_ratio": 2}

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "RRDBNet": lambda: rrdbnet(4, blocks=1),
    "RRDBNet x2": lambda: rrdbnet(2, blocks=1),
    "Compact": lambda: compact(4),
    "SPAN": _spandrel("SPAN", num_in_ch=3, num_out_ch=3, feature_channels=8, upscale=2),
    "SAFMN": _spandrel("SAFMN", dim=8, n_blocks=2, upscaling_factor=4),
    "RCAN": _spandrel("RCAN", n_resgroups=2, n_resblocks=2, n_feats=16, reduction=4, scale=2),
    "SwinIR": _spandrel("SwinIR", **WINDOWS, window_size=8, upscale=4, upsampler="pixelshuffledirect"),
    "HAT": _spandrel("HAT", **WINDOWS, window_size=8, upscale=2, compress_ratio=3, squeeze_factor=8, num_feat=16),
    "DAT": _spandrel(
        "DAT", img_size=16, embed_dim=16, split_size=[8, 8], depth=[2], num_heads=[2], expansion_factor=2.0, upscale=2
    ),
    "OmniSR": _spandrel("OmniSR", num_feat=16, res_num=1, up_scale=3),
    "PLKSR": _spandrel("PLKSR", dim=16, n_blocks=2, upscaling_factor=2),
    "Swin2SR": _spandrel("Swin2SR", **WINDOWS, window_size=8, upscale=2, upsampler="pixelshuffle"),
}


def write_architecture(name: str, path: Path) -> Path:
    """Weights of one of `NETWORKS` with their description next to them, as the workflow stores them."""
    return write_network(NETWORKS[name](), path)
