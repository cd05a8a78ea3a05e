"""The backend `triton`: networks of 3×3 convolutions, such as RRDBNet, by one kernel of our own."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wbcsr.engines.backend import Program, example_for
from wbcsr.engines.memory import detect_out_of_memory
from wbcsr.engines.profile import Profile
from wbcsr.engines.trace import UnsuitedError, trace
from wbcsr.engines.triton.layers import plan
from wbcsr.files import read_json, write_json

# Tensor cores with asynchronous copies to shared memory.
LEAST_CAPABILITY = (8, 0)


class Triton:
    """Never concatenates, and runs each convolution with everything that follows it as one kernel.

    The program is a JSON file with what autotuning chose. Triton compiles the kernel when it is first launched, and
    caches it in TRITON_CACHE_DIR.
    """

    name = "triton"
    compiles = True
    packages: tuple[str, ...] = ("torch", "triton")
    precisions: tuple[str, ...] | None = ("fp16", "bf16")
    tensors: torch.dtype | None = None

    def unavailable(self, device: torch.device) -> str | None:
        if device.type != "cuda":
            return "triton needs an NVIDIA GPU and a driver, and PyTorch finds none; choose auto or eager"
        if importlib.util.find_spec("triton") is None:
            return "the package triton is not installed; install the environment for GPUs"
        if torch.cuda.get_device_capability(device) < LEAST_CAPABILITY:
            return "triton needs a GPU of compute capability 8.0 or higher; choose auto"
        return None

    def unsuited(self, network: nn.Module) -> str | None:
        try:
            plan(trace(network))
        except UnsuitedError as error:
            return f"{self.name} {error}"
        return None

    def memory_format(self, device: torch.device, dtype: torch.dtype) -> torch.memory_format:
        return torch.channels_last

    def settings(self, inference: Mapping[str, Any], device: torch.device, precision: str) -> dict[str, Any]:
        code = [Path(__file__).with_name(f"{name}.py").read_bytes() for name in ("kernels", "layers", "tiles")]
        return {"code": hashlib.sha256(b"".join(code)).hexdigest()[:16]}

    def compile(self, network: nn.Module, profile: Profile, program: Path, settings: Mapping[str, Any]) -> None:
        from wbcsr.engines.triton.tuning import tune

        major, minor = torch.cuda.get_device_capability(next(network.parameters()).device)
        with detect_out_of_memory():
            example = example_for(network, profile, self)
            write_json(program, tune(network, example, 10 * major + minor).to_json())

    def load(self, network: nn.Module, program: Path, profile: Profile) -> Program:
        from wbcsr.engines.triton.network import Choice, Network

        ready = Network(network, Choice.from_json(read_json(program)), profile.is_fixed)

        def run(batch: torch.Tensor) -> torch.Tensor:
            with detect_out_of_memory():
                return ready(batch)

        return run
