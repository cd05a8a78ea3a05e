"""Select device and precision from what the hardware supports."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from wbcsr.errors import InputError

log = logging.getLogger(__name__)

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device() -> torch.device:
    """Return the first CUDA device, or the CPU if there is none."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if Path("/proc/driver/nvidia/version").exists():
        log.warning("this machine has an NVIDIA driver, but PyTorch can use no GPU: everything runs on the CPU")
    return torch.device("cpu")


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 arithmetic is native: AMX or AVX512-BF16 on a CPU, compute capability 8.0 or higher on a GPU.

    Emulated bfloat16 is many times slower than fp32.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def pick_precision(requested: str, device: torch.device) -> str:
    """Resolve `auto`: bf16 if it is native, otherwise fp16 on a GPU and fp32 on a CPU.

    Any other value is returned unchanged. Raises InputError for fp16 on a CPU, where PyTorch has no fast kernels for
    it.
    """
    if requested == "auto":
        if has_fast_bf16(device):
            return "bf16"
        return "fp16" if device.type == "cuda" else "fp32"
    if requested == "fp16" and device.type == "cpu":
        raise InputError("configuration: inference.precision fp16 needs a GPU; choose auto, fp32 or bf16")
    return requested


def inference_precision(requested: str, device: torch.device, exact_on_cpu: bool) -> str:
    """Resolve `auto` for inference: fp16 on a GPU, as in Real-ESRGAN's own program.

    On a GPU, fp16 is as fast as bf16 and has three more bits of precision, and inference needs no loss scaling. On a
    CPU, bf16 if it is native and `exact_on_cpu` is false, otherwise fp32. Raises InputError for fp16 on a CPU.
    """
    if requested == "auto" and device.type == "cuda":
        return "fp16"
    if requested == "auto" and exact_on_cpu:
        return "fp32"
    return pick_precision(requested, device)
