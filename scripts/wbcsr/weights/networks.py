"""Super-resolution networks: recognised from their tensors and built by spandrel; plain RRDBNets are basicsr's own.

spandrel (github.com/chaiNNer-org/spandrel) knows the architectures for which people publish weights, and what each of
them needs. Only jobs that load a network import it.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import wbcsr.vision  # noqa: F401 basicsr cannot be imported without it
from wbcsr.engines.profile import Size, allowed_side
from wbcsr.errors import InputError, first_line, one_line
from wbcsr.weights.tensors import Tensors, fill, read_tensors

REMEDY = "use the unchanged weights of a network that spandrel supports"
# Side in pixels of the image with which a network is tried.
TRIAL_SIDE = 8


@dataclass(frozen=True)
class Architecture:
    """What the workflow needs to know of a network that maps RGB images to RGB images `scale` times as large.

    `name` and `tags` are spandrel's, for example ESRGAN with 64nf and 23nb (64 features, 23 blocks). Height and width
    of the input must be divisible by `multiple` and at least `least` pixels. `precisions` lists those in which the
    network works. `elements_per_pixel` is the size of its largest tensor, in elements per pixel of the input.
    """

    name: str
    tags: tuple[str, ...]
    scale: int
    multiple: int
    least: int
    precisions: tuple[str, ...]
    elements_per_pixel: int


def read_network(path: Path) -> Tensors:
    """Return the tensors of a super-resolution network; formats and errors are those of `read_tensors`.

    A prefix remains if spandrel recognises the names with it: in the first ESRGAN, every name begins with `model.`.
    """
    return read_tensors(path, lambda tensors: _recognised(tensors) is not None)


def build(tensors: Tensors, origin: str | Path = "weights") -> tuple[nn.Module, Architecture]:
    """Return the network that `tensors` belong to, with these weights, in evaluation mode, fp32, on the CPU.

    Raises InputError, which begins with `origin`, if spandrel does not know the architecture, if a tensor is missing or
    has the wrong shape, or if the network does not map RGB images to larger RGB images.
    """
    known = _recognised(tensors)
    if known is None:
        raise InputError(
            f"{origin}: spandrel knows no network with these tensors (the first is {next(iter(tensors), 'none')}); "
            f"{REMEDY}"
        )
    try:
        found = known.load(dict(tensors))
    except Exception as error:  # each architecture derives its sizes from the tensors in its own way
        detail = one_line(str(error))[:120] or first_line(error)
        raise InputError(
            f"{origin}: resembles {known.name}, but its tensors do not fit ({detail}); {REMEDY}"
        ) from error
    if found.purpose != "SR" or (found.input_channels, found.output_channels) != (3, 3):
        raise InputError(
            f"{origin}: is {known.name} for the purpose {found.purpose} with {found.input_channels} input and "
            f"{found.output_channels} output channels; use a network for super-resolution (SR) of RGB images"
        )
    plain = _plain_rrdbnet(found.model, tensors, origin)
    if plain is not None:
        network, multiple = plain
        least = multiple
    else:
        network, multiple = _merged(found.model.eval()), found.size_requirements.multiple_of
        least = max(found.size_requirements.minimum, multiple)
    side = allowed_side(TRIAL_SIDE, multiple, least)
    # Not square, because networks with windows compute masks for sizes other than those of their training.
    shape = (side, side + allowed_side(TRIAL_SIDE, multiple, 0))
    largest = _try(network, shape, found.scale, f"{origin}: {known.name}")
    narrow = [*["fp16"] * found.supports_half, *["bf16"] * found.supports_bfloat16]
    if plain is None and not _works_in_bf16(network, shape):
        narrow = []
    return network, Architecture(
        name=known.name,
        tags=tuple(found.tags),
        scale=found.scale,
        multiple=multiple,
        least=least,
        precisions=("fp32", *narrow),
        elements_per_pixel=largest,
    )


def rrdbnet(blocks: int, features: int = 64, unshuffle: int = 1) -> nn.Module:
    """Return basicsr's RRDBNet (Wang et al. 2018, ESRGAN; as in Real-ESRGAN) with random weights, in evaluation mode.

    Its scale is 4, divided by the factor of a pixel-unshuffle at the start.
    """
    from basicsr.archs.rrdbnet_arch import RRDBNet

    return RRDBNet(num_in_ch=3, num_out_ch=3, scale=4 // unshuffle, num_feat=features, num_block=blocks).eval()


def _recognised(tensors: Tensors) -> Any:
    """Return spandrel's architecture for these names of tensors, or None."""
    from spandrel import MAIN_REGISTRY

    architectures = (support.architecture for support in MAIN_REGISTRY.architectures("detection"))
    return next((architecture for architecture in architectures if architecture.detect(tensors)), None)


def _plain_rrdbnet(network: nn.Module, tensors: Tensors, origin: str | Path) -> tuple[nn.Module, int] | None:
    """Return basicsr's RRDBNet with the weights of spandrel's, and its multiple; None for any other network.

    Both compute the same; with basicsr's, pixels are those of Real-ESRGAN's own program, and winograd can run it.
    """
    from spandrel.architectures.ESRGAN import ESRGAN

    if not isinstance(network, ESRGAN):
        return None
    built = network.hyperparameters
    if built["plus"] or built["scale"] != 4:
        return None
    unshuffle = built["shuffle_factor"] or 1
    with torch.device("meta"):  # the random weights are replaced
        plain = rrdbnet(built["num_blocks"], built["num_filters"], unshuffle)
    if "conv_first.weight" not in tensors or "body.0.rdb1.conv1.weight" not in tensors:
        # Older names: the convolutions are the same, in the same order.
        tensors = dict(zip(plain.state_dict(), network.state_dict().values(), strict=True))
    fill(plain, tensors, origin, "RRDBNet", REMEDY)
    return plain, unshuffle


def _merged(network: nn.Module) -> nn.Module:
    """Merge SPAN's parallel convolutions once: it does so in every call, which no compiler can trace."""
    module: Any
    for module in network.modules():
        if hasattr(module, "update_params") and hasattr(module, "eval_conv"):
            module.update_params()
            module.update_params = _nothing
    return network


def _nothing() -> None:
    """Replace a method that has done its work."""


def _works_in_bf16(network: nn.Module, shape: Size) -> bool:
    """Whether the network runs with weights of 16 bits; spandrel says so also of some that compute masks in fp32."""
    try:
        with torch.inference_mode():
            copy.deepcopy(network).bfloat16()(torch.zeros((1, 3, *shape), dtype=torch.bfloat16))
    except (RuntimeError, TypeError, ValueError):
        return False
    return True


def _try(network: nn.Module, shape: Size, scale: int, named: str) -> int:
    """Run the network once, and return the size of its largest tensor in elements per pixel of the input.

    Raises InputError, which begins with `named`, if the output is not an image `scale` times as large.
    """
    try:
        with torch.inference_mode(), _Largest() as largest:
            output = network(torch.rand((1, 3, *shape), generator=torch.Generator().manual_seed(0)))
    except Exception as error:  # an architecture may raise anything for an image that it cannot process
        raise InputError(
            f"{named} cannot process an image of {shape[0]}×{shape[1]} pixels ({first_line(error)}); {REMEDY}"
        ) from error
    if not isinstance(output, torch.Tensor) or output.shape != (1, 3, shape[0] * scale, shape[1] * scale):
        raise InputError(f"{named} returns something else than one image ×{scale}; {REMEDY}")
    return -(-largest.elements // (shape[0] * shape[1]))


class _Largest(TorchDispatchMode):
    """Notes the number of elements of the largest tensor that an operator returns."""

    elements = 0

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        returned = function(*arguments, **(keywords or {}))
        sizes = (leaf.numel() for leaf in tree_leaves(returned) if isinstance(leaf, torch.Tensor))
        self.elements = max(self.elements, *sizes, 0)
        return returned
