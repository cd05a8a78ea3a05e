"""The number format of a training."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

from wbcsr.engines.capability import pick_precision


def choose_precision(requested: str, device: torch.device) -> str:
    """Return `fp32` or `bf16`, chosen as in `pick_precision`; fp32 replaces fp16, which would need loss scaling."""
    precision = pick_precision(requested, device)
    return "fp32" if precision == "fp16" else precision


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Return a context for mixed precision: with bf16, convolutions and matrix products use bf16, the rest fp32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
