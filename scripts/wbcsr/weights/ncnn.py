"""Read convolution weights in ncnn's format (github.com/Tencent/ncnn/wiki/param-and-model-file-structure)."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from wbcsr.errors import InputError

FP16_TAG = 0x01306B47
_KEY_OUTPUTS, _KEY_KERNEL, _KEY_BIAS, _KEY_WEIGHTS = "0", "1", "5", "6"


def read_convolutions(param: Path, model: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return weights and biases of every convolution, in the order of the .param file.

    Each pair is ((out, in, kernel, kernel) float32, (out,) float32); fp16 weights are converted to float32, which is
    exact. Raises InputError if a file is truncated, is too long, or does not match the other one.
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

    convolutions = []
    for line in param.read_text(encoding="ascii", errors="replace").splitlines():
        fields = line.split()
        if not fields or fields[0] != "Convolution":
            continue
        settings = dict(field.split("=", 1) for field in fields if "=" in field and not field.startswith("-"))
        try:
            outputs, kernel, count = (int(settings[key]) for key in (_KEY_OUTPUTS, _KEY_KERNEL, _KEY_WEIGHTS))
        except (KeyError, ValueError) as error:
            raise InputError(f"{param}: {line[:80]!r} is no convolution; install its package again") from error
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
        convolutions.append((weights.reshape(outputs, inputs, kernel, kernel), biases))
    if position != len(content):
        raise InputError(f"{model}: is {len(content) - position} bytes longer than {param.name} describes")
    return convolutions
