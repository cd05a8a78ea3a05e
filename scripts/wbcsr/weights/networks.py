"""Real-ESRGAN's networks: identified from their tensors and built with the code of basicsr and realesrgan."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from torch import nn

import wbcsr.vision  # noqa: F401 basicsr cannot be imported without it
from wbcsr.errors import InputError
from wbcsr.weights.tensors import Tensors


@dataclass(frozen=True)
class Architecture:
    """The network architecture of a weights file.

    `scale` is the factor by which the network itself upscales. Height and width of its input must be divisible by
    `multiple` (2 for x2plus, which starts with a pixel-unshuffle).
    """

    name: str
    scale: int
    features: int
    blocks: int
    growth: int
    multiple: int


def describe(tensors: Tensors, origin: str | Path = "weights") -> Architecture:
    """Identify the architecture from the names and shapes of its tensors; `origin` names the tensors in errors.

    Supports RRDBNet (Wang et al. 2018, ESRGAN; as in Real-ESRGAN) and SRVGGNetCompact. Raises InputError for anything
    else.
    """
    if "conv_first.weight" in tensors and "body.0.rdb1.conv1.weight" in tensors:
        first = tensors["conv_first.weight"]
        unshuffle = {3: 1, 12: 2, 48: 4}.get(first.shape[1])
        if unshuffle is None:
            raise InputError(f"{origin}: is an RRDBNet with {first.shape[1]} input channels; use one with 3, 12 or 48")
        blocks = 1 + max(int(match[1]) for key in tensors if (match := re.match(r"body\.(\d+)\.rdb1", key)))
        return Architecture(
            name="RRDBNet",
            scale=4 // unshuffle,
            features=first.shape[0],
            blocks=blocks,
            growth=tensors["body.0.rdb1.conv1.weight"].shape[0],
            multiple=unshuffle,
        )
    if "body.0.weight" in tensors and "body.1.weight" in tensors:
        last = max(int(key.split(".")[1]) for key in tensors if re.fullmatch(r"body\.\d+\.weight", key))
        scale = round((tensors[f"body.{last}.weight"].shape[0] / 3) ** 0.5)
        return Architecture("SRVGGNetCompact", scale, tensors["body.0.weight"].shape[0], (last - 2) // 2, 0, 1)
    raise InputError(
        f"{origin}: neither RRDBNet nor SRVGGNetCompact (first tensor: {next(iter(tensors), 'none')}); "
        "use weights of Real-ESRGAN"
    )


def empty_network(architecture: Architecture) -> nn.Module:
    """Return the network of this architecture with random weights, in evaluation mode, fp32."""
    if architecture.name == "RRDBNet":
        from basicsr.archs.rrdbnet_arch import RRDBNet

        network = RRDBNet(
            num_in_ch=3,
            num_out_ch=3,
            scale=architecture.scale,
            num_feat=architecture.features,
            num_block=architecture.blocks,
            num_grow_ch=architecture.growth,
        )
    else:
        from realesrgan.archs.srvgg_arch import SRVGGNetCompact

        network = SRVGGNetCompact(
            num_feat=architecture.features, num_conv=architecture.blocks, upscale=architecture.scale, act_type="prelu"
        )
    return network.eval()


def build(tensors: Tensors, origin: str | Path = "weights") -> tuple[nn.Module, Architecture]:
    """Return the network that `tensors` belong to, with these weights, in evaluation mode.

    Raises InputError, which begins with `origin`, if a tensor is missing, unknown, or has the wrong shape.
    """
    architecture = describe(tensors, origin)
    network = empty_network(architecture)
    expected = network.state_dict()
    for name in sorted(expected.keys() | tensors.keys()):
        if name not in tensors or name not in expected:
            raise InputError(
                f"{origin}: tensor {name} is {'missing' if name in expected else 'unknown'} for {architecture.name}; "
                "use weights of Real-ESRGAN"
            )
        if tensors[name].shape != expected[name].shape:
            raise InputError(
                f"{origin}: tensor {name} has shape {tuple(tensors[name].shape)}, not {tuple(expected[name].shape)}; "
                "use weights of Real-ESRGAN"
            )
    network.load_state_dict(tensors)
    return network, architecture
