"""What the machine can do: device and number format, by capability and never by hope."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from wbcsr.errors import InputError

log = logging.getLogger(__name__)

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device() -> torch.device:
    """The first CUDA device where there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if Path("/proc/driver/nvidia/version").exists():
        log.warning("this machine has an NVIDIA driver, but PyTorch can use no GPU: everything runs on the CPU")
    return torch.device("cpu")


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 arithmetic is native: AMX or AVX512-BF16 on a CPU, compute capability 8.0 on a GPU.

    Elsewhere it is emulated, many times slower than fp32.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def pick_precision(requested: str, device: torch.device) -> str:
    """Resolve `auto` to bf16 where it is native, else (on a GPU) fp16, else fp32.

    A format that was asked for by name is kept. InputError for fp16 on a CPU, which has no kernels worth using.
    """
    if requested == "auto":
        if has_fast_bf16(device):
            return "bf16"
        return "fp16" if device.type == "cuda" else "fp32"
    if requested == "fp16" and device.type == "cpu":
        raise InputError("configuration: inference.precision fp16 needs a GPU; choose auto, fp32 or bf16")
    return requested


def inference_precision(requested: str, device: torch.device, exact_on_cpu: bool) -> str:
    """Resolve `auto` for a network that only runs forward: fp16 on a GPU, as Real-ESRGAN's own tool.

    fp16 keeps three bits more of each value than bf16 at the same speed, and needs no loss to be scaled. On a CPU bf16
    where it is native, unless `exact_on_cpu`, else fp32. InputError for fp16 on a CPU.
    """
    if requested == "auto" and device.type == "cuda":
        return "fp16"
    if requested == "auto" and exact_on_cpu:
        return "fp32"
    return pick_precision(requested, device)
