"""PyTorch's own backends: eager mode, and ahead-of-time compilation with Inductor."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wbcsr.engines.backend import Program, example_for
from wbcsr.engines.memory import detect_out_of_memory, failed_allocations
from wbcsr.engines.profile import Profile
from wbcsr.files import replacing


class Eager:
    """PyTorch's eager mode: accepts any shape and compiles nothing."""

    name = "eager"
    compiles = False
    packages: tuple[str, ...] = ()
    precisions: tuple[str, ...] | None = None
    tensors: torch.dtype | None = None

    def unavailable(self, device: torch.device) -> str | None:
        return None

    def unsuited(self, network: nn.Module) -> str | None:
        return None

    def memory_format(self, device: torch.device, dtype: torch.dtype) -> torch.memory_format:
        # Channels-last is faster, but in fp32 it rounds sums differently, and some pixels differ from Real-ESRGAN's
        # own.
        exact = device.type == "cpu" and dtype == torch.float32
        return torch.contiguous_format if exact else torch.channels_last

    def settings(self, inference: Mapping[str, Any], device: torch.device, precision: str) -> dict[str, Any]:
        return {}

    def compile(self, network: nn.Module, profile: Profile, program: Path, settings: Mapping[str, Any]) -> None:
        raise TypeError("eager compiles nothing")

    def load(self, network: nn.Module, program: Path, profile: Profile) -> Program:
        def run(batch: torch.Tensor) -> torch.Tensor:
            with detect_out_of_memory():
                return network(batch)

        return run


class Inductor(Eager):
    """TorchInductor, compiled ahead of time: one package holds code and weights, and a job loads it within seconds.

    On a GPU, Inductor generates Triton kernels; for a fixed shape, a CUDA graph launches all of them at once.
    """

    name = "inductor"
    compiles = True
    packages: tuple[str, ...] = ("torch", "triton")

    def unavailable(self, device: torch.device) -> str | None:
        if not (shutil.which("g++") or shutil.which("clang++")):
            return "inductor needs a C++ compiler on the PATH (Debian: g++)"
        if importlib.util.find_spec("setuptools") is None:  # torch.utils.cpp_extension imports it
            return "inductor needs the package setuptools (Python 3.12 and newer do not include it); install it"
        if device.type == "cuda" and _cuda_home() is None:
            return "inductor needs the CUDA toolkit to compile for a GPU; install it and set CUDA_HOME"
        return None

    def settings(self, inference: Mapping[str, Any], device: torch.device, precision: str) -> dict[str, Any]:
        # With freezing, the weights are packed for the CPU's convolutions at compile time.
        if device.type == "cpu":
            return {"freezing": True}
        # Autotuning times many variants of each kernel, which takes minutes.
        return {"max_autotune": inference["optimization_level"] >= 3}

    def compile(self, network: nn.Module, profile: Profile, program: Path, settings: Mapping[str, Any]) -> None:
        exported = torch.export.export(
            network, (example_for(network, profile, self),), dynamic_shapes=profile.dynamic_shapes()
        )
        with replacing(program) as beside:
            torch._inductor.aoti_compile_and_package(
                exported, package_path=str(beside), inductor_configs=dict(settings)
            )

    def load(self, network: nn.Module, program: Path, profile: Profile) -> Program:
        example = example_for(network, profile, self)
        recorded = example.device.type == "cuda" and profile.is_fixed
        package = torch._inductor.aoti_load_package(str(program), run_single_threaded=recorded)
        if example.device.type == "cpu":
            return package

        def run(batch: torch.Tensor) -> torch.Tensor:
            refused = failed_allocations(batch.device)
            try:
                return package(batch)
            except RuntimeError as error:
                # An error of the package does not say whether memory ran out.
                if failed_allocations(batch.device) == refused:
                    raise
                raise torch.OutOfMemoryError(f"inductor needs more memory to run {profile}") from error

        return CudaGraph(run, example) if recorded else run


def _cuda_home() -> str | None:
    """Return the folder in which PyTorch finds the CUDA toolkit."""
    from torch.utils import cpp_extension

    return cpp_extension.CUDA_HOME


class CudaGraph:
    """A program with one fixed shape, recorded once and replayed as a whole; each call overwrites the same output."""

    def __init__(self, run: Program, example: torch.Tensor) -> None:
        self._input = example.clone()
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside), torch.inference_mode():
            for _ in range(3):  # the first calls choose algorithms and allocate memory, which cannot be recorded
                run(self._input)
        torch.cuda.current_stream().wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph), torch.inference_mode():
            self._output = run(self._input)

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        self._input.copy_(batch)
        self._graph.replay()
        return self._output
