"""EfficientNet-Lite, a small network for images, with the tensor names of the package timm."""

from __future__ import annotations

import math
from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional

# Kernel size, stride and expansion of the first block of each stage; the stage's other blocks have stride 1.
_STAGES = ((3, 1, 1), (3, 2, 6), (5, 2, 6), (3, 2, 6), (5, 1, 6), (5, 2, 6), (3, 1, 6))
# Number of blocks and channels of each stage, for Lite0 and Lite2.
_BLOCKS = {0: (1, 2, 2, 3, 3, 4, 1), 2: (1, 3, 3, 4, 4, 5, 1)}
_CHANNELS = {0: (16, 24, 40, 80, 112, 192, 320), 2: (16, 24, 48, 88, 120, 208, 352)}
_STEM, _HEAD = 32, 1280
# The epsilon of TensorFlow's batch norms, with which the weights were trained.
_EPSILON = 1e-3


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite0 or 2 (Tan and Le 2019; Liu 2020: no squeeze-and-excitation, ReLU6, fixed stem and head).

    (n, 3, height, width) of any float dtype → logits (n, classes). Tensors have the names of the package timm. There is
    no dropout or stochastic depth, so training uses no random numbers here.
    """

    def __init__(self, number: int, classes: int) -> None:
        super().__init__()
        self.conv_stem = _convolution(3, _STEM, 3, 2)
        self.bn1 = nn.BatchNorm2d(_STEM, _EPSILON)
        self.act1 = nn.ReLU6()
        stages, channels = [], _STEM
        for (kernel, stride, expansion), count, wanted in zip(_STAGES, _BLOCKS[number], _CHANNELS[number], strict=True):
            inputs = [channels] + [wanted] * (count - 1)
            strides = [stride] + [1] * (count - 1)
            stages.append(
                nn.Sequential(*(_Block(n, wanted, kernel, s, expansion) for n, s in zip(inputs, strides, strict=True)))
            )
            channels = wanted
        self.blocks = nn.Sequential(*stages)
        self.conv_head = _convolution(channels, _HEAD, 1)
        self.bn2 = nn.BatchNorm2d(_HEAD, _EPSILON)
        self.act2 = nn.ReLU6()
        self.classifier = nn.Linear(_HEAD, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # He et al. 2015, with the fan-out of one group.
                fan = module.out_channels * math.prod(module.kernel_size) // module.groups
                nn.init.normal_(module.weight, std=math.sqrt(2 / fan))

    def forward(self, x: Tensor) -> Tensor:
        x = self.act1(self.bn1(self.conv_stem(x)))
        x = self.act2(self.bn2(self.conv_head(self.blocks(x))))
        return self.classifier(x.mean((2, 3)))


class _Block(nn.Sequential):
    """Inverted residual block (Sandler et al. 2018): expansion, depthwise convolution, projection."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        wide = inputs * expansion
        widen = [("conv_pw", _convolution(inputs, wide, 1))] if expansion > 1 else []
        steps = [*widen, ("conv_dw", _convolution(wide, wide, kernel, stride, groups=wide))]
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for number, (name, convolution) in enumerate(steps, 1):
            layers[name] = convolution
            layers[f"bn{number}"] = nn.BatchNorm2d(wide, _EPSILON)
            layers[f"act{number}"] = nn.ReLU6()
        layers["conv_pwl" if widen else "conv_pw"] = _convolution(wide, outputs, 1)
        layers[f"bn{len(steps) + 1}"] = nn.BatchNorm2d(outputs, _EPSILON)
        super().__init__(layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        narrowed = super().forward(x)
        return x + narrowed if self.residual else narrowed


class _SamePadded(nn.Conv2d):
    """A strided convolution with TensorFlow's "SAME" padding: odd padding is larger at the bottom and right."""

    def forward(self, x: Tensor) -> Tensor:
        margins: list[int] = []
        for length, kernel, stride in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            total = max((math.ceil(length / stride) - 1) * stride + kernel - length, 0)
            margins += [total // 2, total - total // 2]
        return super().forward(functional.pad(x, margins))


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    if stride > 1:
        return _SamePadded(inputs, outputs, kernel, stride, groups=groups, bias=False)
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)
