"""The available backends, by their name in the configuration."""

from __future__ import annotations

import torch

from wbcsr.engines.backend import Backend
from wbcsr.engines.pytorch import Eager, Inductor
from wbcsr.engines.tensorrt import TensorRT
from wbcsr.engines.triton.backend import Triton
from wbcsr.engines.winograd.backend import Winograd
from wbcsr.errors import InputError

BACKENDS: dict[str, Backend] = {
    backend.name: backend for backend in (Eager(), Winograd(), Inductor(), Triton(), TensorRT())
}


def get_backend(name: str, device: torch.device) -> Backend:
    """Return the backend `name`. Raises InputError, with the reason, if it cannot run on this machine."""
    reason = BACKENDS[name].unavailable(device)
    if reason:
        raise InputError(f"configuration: inference.backend {name} cannot run here: {reason}")
    return BACKENDS[name]
