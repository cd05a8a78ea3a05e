"""The backends that make a network ready, behind one interface."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from wbcsr.errors import InputError
from wbcsr.files import replacing

log = logging.getLogger(__name__)

Program = Callable[[torch.Tensor], torch.Tensor]


class Backend(Protocol):
    """One way to run a network: `compile` writes what `load` needs, once for all jobs.

    Both see the network in its final precision and memory format, on its device.
    """

    name: str
    compiles: bool

    def unavailable(self, device: torch.device) -> str | None:
        """Why this backend cannot run on `device` here, or None."""

    def compile(self, network: nn.Module, example: torch.Tensor, program: Path) -> None:
        """Write the program for inputs of the shape of `example` (batch, 3, height, width)."""

    def load(self, network: nn.Module, program: Path | None) -> Program:
        """A function from a batch to the network's output."""


class Eager:
    """PyTorch as it is; takes any shape, compiles nothing."""

    name = "eager"
    compiles = False

    def unavailable(self, device: torch.device) -> str | None:
        return None

    def compile(self, network: nn.Module, example: torch.Tensor, program: Path) -> None:
        raise TypeError("eager compiles nothing")

    def load(self, network: nn.Module, program: Path | None) -> Program:
        return network


class Inductor:
    """TorchInductor, ahead of time: one package holds code and weights, and every job loads it in a moment."""

    name = "inductor"
    compiles = True

    def unavailable(self, device: torch.device) -> str | None:
        if device.type == "cpu" and not (shutil.which("g++") or shutil.which("clang++")):
            return "inductor needs a C++ compiler on the PATH (Debian: g++)"
        return None

    def compile(self, network: nn.Module, example: torch.Tensor, program: Path) -> None:
        exported = torch.export.export(network, (example,))
        # Freezing lets weights be packed for the processor's convolutions at compile time.
        options = {"freezing": True} if example.device.type == "cpu" else {"max_autotune": True}
        with replacing(program) as beside:
            torch._inductor.aoti_compile_and_package(exported, package_path=str(beside), inductor_configs=options)

    def load(self, network: nn.Module, program: Path | None) -> Program:
        return torch._inductor.aoti_load_package(str(program))


BACKENDS: dict[str, Backend] = {backend.name: backend for backend in (Eager(), Inductor())}


def get_backend(name: str, device: torch.device) -> Backend:
    """The backend of that name, or InputError with the reason why it cannot run here."""
    if name not in BACKENDS:
        raise InputError(
            f"configuration: inference.backend {name} cannot run here; choose auto, {' or '.join(BACKENDS)}"
        )
    reason = BACKENDS[name].unavailable(device)
    if reason:
        raise InputError(f"configuration: inference.backend {name} cannot run here: {reason}")
    return BACKENDS[name]
