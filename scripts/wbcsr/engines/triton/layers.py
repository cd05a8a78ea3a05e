"""The layers of a traced network, and the place of every image in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from wbcsr.engines.trace import Convolution, Image, Trace, UnsuitedError

# Tensor cores multiply blocks of 16 channels; missing channels of a block are zeros.
BLOCK = 16
# Output channels that one program computes at most.
MOST_OUTPUTS = 64


@dataclass(frozen=True)
class Place:
    """The channels of a buffer, from `offset` on, that hold an image."""

    buffer: int
    offset: int


@dataclass(frozen=True)
class Layer:
    """A convolution with the places of its images; without a `target`, it writes the output of the network.

    `gaps` lists, for each image of the source, its first channel relative to the first of `inputs` channels.
    """

    step: Convolution
    source: Place
    inputs: int
    gaps: tuple[int, ...]
    target: Place | None
    addends: tuple[Place, ...]

    @property
    def stored(self) -> int:
        """The number of channels that are written, including zeros that fill a block."""
        channels = self.step.target.channels
        return padded(channels) if self.target else channels

    @property
    def outputs(self) -> int:
        """The number of output channels that one program computes; a power of two."""
        return min(MOST_OUTPUTS, max(BLOCK, 1 << (self.step.target.channels - 1).bit_length()))

    @property
    def columns(self) -> int:
        """The number of columns of the weight matrix."""
        return -(-self.stored // self.outputs) * self.outputs

    @property
    def shape(self) -> str:
        """What layers with equal speed have in common."""
        enlarged = " after enlargement" if self.step.doubled else ""
        return f"{self.inputs} to {self.stored} at x{self.step.target.scale}{enlarged}, addends: {len(self.addends)}"

    def matrices(self, dtype: torch.dtype, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the weights (9, `inputs`, `columns`) of `dtype` and the bias (`columns`,) fp32 for the kernel."""
        module, taken = self.step.module, 0
        weights = torch.zeros((9, self.inputs, self.columns), dtype=dtype, device=device)
        kernels = module.weight.permute(2, 3, 1, 0).flatten(0, 1)
        for image, gap in zip(self.step.sources, self.gaps, strict=True):
            weights[:, gap : gap + image.channels, : module.out_channels] = kernels[:, taken : taken + image.channels]
            taken += image.channels
        bias = torch.zeros(self.columns, device=device)
        if module.bias is not None:
            bias[: module.out_channels] = module.bias
        return weights, bias


@dataclass(frozen=True)
class Buffer:
    """Memory for images of one `scale` (see `Image`), channels-last."""

    channels: int
    scale: int


@dataclass
class Plan:
    """The layers in order, and their buffers; the first buffer holds the input, after the pixel-unshuffle."""

    unshuffle: int
    buffers: list[Buffer] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)


def plan(traced: Trace) -> Plan:
    """Place the images of a network so that those which are concatenated are neighbours, and nothing is copied.

    A dense block thus works in one buffer: each of its convolutions reads the channels so far and writes its own behind
    them. A buffer is used again once all images in it have been read. Raises UnsuitedError if this is impossible.
    """
    groups = _groups(traced)
    offsets: dict[Image, int] = {}
    for images in groups.values():
        for before, image in zip([None, *images], images, strict=False):
            offsets[image] = offsets[before] + padded(before.channels) if before else 0
    last_use = {id(groups[image]): at for at, step in enumerate(traced.convolutions) for image in _used(step)}
    result, free = Plan(traced.unshuffle), list[tuple[Buffer, int]]()
    numbers: dict[int, int] = {}

    def place(image: Image) -> Place:
        group = groups[image]
        if id(group) not in numbers:
            buffer = Buffer(sum(padded(member.channels) for member in group), image.scale)
            found = next((number for same, number in free if same == buffer), None)
            if found is None:
                result.buffers.append(buffer)
                found = len(result.buffers) - 1
            else:
                free.remove((buffer, found))
            numbers[id(group)] = found
        return Place(numbers[id(group)], offsets[image])

    place(traced.source)
    for at, step in enumerate(traced.convolutions):
        source, begin = place(step.sources[0]), offsets[step.sources[0]]
        inputs = sum(padded(image.channels) for image in step.sources)
        gaps = tuple(offsets[image] - begin for image in step.sources)
        addends = tuple(place(image) for image, _ in step.addends)
        target = None if step.target is traced.target else place(step.target)
        result.layers.append(Layer(step, source, inputs, gaps, target, addends))
        for group in {id(groups[image]) for image in _used(step)}:
            # The buffer of the input keeps its zeros, which only the first layer's weights rely on.
            if last_use[group] == at and numbers.get(group, 0):
                free.append((result.buffers[numbers[group]], numbers[group]))
    return result


def padded(channels: int) -> int:
    return -(-channels // BLOCK) * BLOCK


def _used(step: Convolution) -> list[Image]:
    return [*step.sources, *(image for image, _ in step.addends), step.target]


def _groups(traced: Trace) -> dict[Image, list[Image]]:
    """Return, for each image, the list of images that lie in the same buffer, in their order."""
    groups: dict[Image, list[Image]] = {traced.source: [traced.source]}
    for step in traced.convolutions:
        group = groups.setdefault(step.sources[0], [step.sources[0]])
        begin = group.index(step.sources[0])
        for place, image in enumerate(step.sources[1:], begin + 1):
            if place == len(group) and image not in groups:
                group.append(image)
                groups[image] = group
            elif place >= len(group) or group[place] is not image:
                raise UnsuitedError("supports concatenation only if it begins with the images of the one before")
    read = {image for step in traced.convolutions for image in _used(step)[:-1]}
    if not traced.convolutions or traced.convolutions[-1].target is not traced.target or traced.target in read:
        raise UnsuitedError("supports only networks whose last convolution gives the output")
    for step in traced.convolutions:
        groups.setdefault(step.target, [step.target])
    return groups
