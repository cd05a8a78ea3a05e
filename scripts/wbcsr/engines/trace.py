"""Describe a network of 3×3 convolutions as a list of convolutions, each with the operations that follow it."""

from __future__ import annotations

import operator
import sys
from dataclasses import dataclass, field
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import fx, nn


class UnsuitedError(Exception):
    """The network uses an operation that this backend does not support."""


@dataclass(eq=False)
class Image:
    """An image in memory; `scale` is its height and width relative to the input of the first convolution."""

    channels: int
    scale: int


@dataclass(eq=False)
class Convolution:
    """`target` = `factor` * activation(convolution of `sources`) + the sum of `addends` (pairs of image and factor).

    The activation is max(x, `slope` * x). If `doubled`, the sources are first enlarged by 2 with nearest neighbours.
    """

    module: nn.Conv2d
    sources: list[Image]
    doubled: bool
    target: Image
    slope: float = 1.0
    factor: float = 1.0
    addends: list[tuple[Image, float]] = field(default_factory=list)


@dataclass(eq=False)
class Concatenation:
    """Images concatenated along their channels; if `doubled`, enlarged by 2 with nearest neighbours."""

    images: list[Image]
    doubled: bool = False


@dataclass
class Trace:
    """The convolutions of a network in order, after a pixel-unshuffle by the factor `unshuffle` (1: none)."""

    unshuffle: int
    source: Image
    target: Image
    convolutions: list[Convolution]


def trace(network: nn.Module) -> Trace:
    """Trace what `network` does to a batch (n, channels, height, width).

    Raises UnsuitedError unless the network consists only of 3×3 convolutions with stride 1 that keep the size, leaky or
    plain ReLU directly after a convolution, concatenation of channels, residual connections with constant factors,
    nearest-neighbour enlargement by 2, and a pixel-unshuffle at the start.
    """
    try:
        return _Tracing(network).result
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise UnsuitedError(f"cannot trace the network: {error!r}") from error


class _Tracing:
    """Walks through the graph; a convolution stays pending until its value is used, so that operations can be fused."""

    def __init__(self, network: nn.Module) -> None:
        graph = _graph(network)
        self._modules = dict(network.named_modules())
        self._values: dict[fx.Node, Image | Convolution | Concatenation] = {}
        self._convolutions: list[Convolution] = []
        self._unshuffle = 1
        for node in graph.nodes:
            if node.op == "output":
                break
            self._values[node] = self._value(node)
        target = self._image(cast(fx.Node, node.args[0]))
        self.result = Trace(self._unshuffle, self._source, target, self._convolutions)

    def _value(self, node: fx.Node) -> Image | Convolution | Concatenation:
        if node.op == "placeholder":
            self._source = Image(0, 1)
            return self._source
        arguments = cast(tuple[Any, ...], node.args)
        if node.op == "call_module":
            module = self._modules[str(node.target)]
            if isinstance(module, nn.Conv2d):
                return self._convolution(module, arguments[0])
            if isinstance(module, nn.LeakyReLU | nn.ReLU):
                return self._activation(arguments[0], getattr(module, "negative_slope", 0.0))
            raise UnsuitedError(f"does not support {type(module).__name__}")
        name = getattr(node.target, "__name__", str(node.target))
        if node.target is torch.cat and _argument(node, 1, "dim", 0) == 1:
            return Concatenation([self._image(part) for part in arguments[0]])
        if (node.target is operator.add or node.target is torch.add) and not node.kwargs:
            return self._sum(*arguments)
        if node.target is operator.mul and isinstance(arguments[1], int | float):
            return self._scaled(arguments[0], float(arguments[1]))
        doubled = (_argument(node, 2, "scale_factor", 1), _argument(node, 3, "mode", "nearest")) == (2, "nearest")
        if node.target is F.interpolate and doubled:
            return Concatenation([self._image(arguments[0])], doubled=True)
        if node.target is _unshuffle() and self._unshuffle == 1 and self._is_input(arguments[0]):
            self._unshuffle = int(_argument(node, 1, "scale", 1))
            self._source = Image(0, 1)
            return self._source
        raise UnsuitedError(f"does not support {name} as this network uses it")

    def _convolution(self, module: nn.Conv2d, argument: fx.Node) -> Convolution:
        plain = {"kernel_size": (3, 3), "stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
        for name, value in plain.items():
            if getattr(module, name) != value:
                raise UnsuitedError(f"does not support a convolution with {name} {getattr(module, name)}")
        if module.padding_mode != "zeros":
            raise UnsuitedError(f"does not support padding with {module.padding_mode}")
        value = self._values[argument]
        taken = value if isinstance(value, Concatenation) else Concatenation([self._image(argument)])
        if taken.images == [self._source]:
            self._source.channels = module.in_channels
        if len({image.scale for image in taken.images}) > 1:
            raise UnsuitedError("does not support concatenation of different sizes")
        target = Image(module.out_channels, taken.images[0].scale * (1 + taken.doubled))
        return Convolution(module, taken.images, taken.doubled, target)

    def _activation(self, argument: fx.Node, slope: float) -> Convolution:
        value = self._pending(argument)
        if value is None or value.addends or value.factor != 1 or value.slope != 1 or not 0 <= slope <= 1:
            raise UnsuitedError("supports an activation only directly after a convolution")
        value.slope = slope
        return value

    def _scaled(self, argument: fx.Node, factor: float) -> Convolution:
        value = self._pending(argument)
        if value is None or (value.slope != 1 and factor < 0):
            raise UnsuitedError("supports a factor only after a convolution")
        value.factor *= factor
        value.addends = [(image, factor * weight) for image, weight in value.addends]
        return value

    def _sum(self, left: fx.Node, right: fx.Node) -> Convolution:
        for argument, other in ((left, right), (right, left)):
            value = self._pending(argument) if isinstance(argument, fx.Node) else None
            if value is None or len(value.addends) == 2 or not isinstance(other, fx.Node) or left is right:
                continue
            image = self._image(other)
            if (image.channels, image.scale) == (value.target.channels, value.target.scale):
                value.addends.append((image, 1.0))
                return value
        raise UnsuitedError("supports a sum only of a convolution and up to two images of its size")

    def _is_input(self, node: fx.Node) -> bool:
        return self._values[node] is self._source

    def _pending(self, node: fx.Node) -> Convolution | None:
        """Return the pending convolution whose current value is `node`, if no other node uses that value."""
        value = self._values[node]
        if isinstance(value, Convolution) and value not in self._convolutions and len(node.users) == 1:
            return value
        return None

    def _image(self, node: fx.Node) -> Image:
        """Return the value of a node as an image in memory; a pending convolution is appended to the list."""
        value = self._values[node]
        if isinstance(value, Image):
            return value
        if isinstance(value, Concatenation):
            raise UnsuitedError("supports concatenation and enlargement only as input of a convolution")
        if value not in self._convolutions:
            self._convolutions.append(value)
        return value.target


def _graph(network: nn.Module) -> fx.Graph:
    """Return the network's graph; basicsr's pixel_unshuffle is a single node."""
    steps = tuple(filter(None, [_unshuffle()]))
    try:
        return fx.Tracer(autowrap_functions=steps).trace(network)
    except (fx.proxy.TraceError, TypeError) as error:
        raise UnsuitedError(f"cannot trace the network: {error}") from error


def _unshuffle() -> Any:
    """Return basicsr's pixel_unshuffle, or None if no network that uses it was imported."""
    return getattr(sys.modules.get("basicsr.archs.arch_util"), "pixel_unshuffle", None)


def _argument(node: fx.Node, place: int, name: str, default: Any) -> Any:
    return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)
