"""The interface that every backend implements."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from wbcsr.engines.capability import DTYPES
from wbcsr.engines.profile import Profile
from wbcsr.errors import InputError

Program = Callable[[torch.Tensor], torch.Tensor]


class UnloadableError(InputError):
    """A program compiled on this machine cannot be loaded, for example because its file system is mounted noexec."""


class Backend(Protocol):
    """One way to run a network: `compile` writes a program once, and each job then loads it with `load`.

    `precisions` lists the precisions that the backend supports on this machine; None means those that PyTorch supports.
    `tensors` is the dtype of weights, batches and outputs if it differs from that of the precision. `compile` and
    `load` receive the network in this dtype, on its device and in the memory format of the backend.
    """

    name: str
    compiles: bool
    packages: tuple[str, ...]
    tensors: torch.dtype | None

    @property
    def precisions(self) -> tuple[str, ...] | None: ...

    def unavailable(self, device: torch.device) -> str | None:
        """Return the reason why this backend cannot run on `device` on this machine, or None."""

    def unsuited(self, network: nn.Module) -> str | None:
        """Return the reason why this backend cannot run `network` on any machine, or None."""

    def memory_format(self, device: torch.device, dtype: torch.dtype) -> torch.memory_format:
        """Return the memory format of weights and batches."""

    def settings(self, inference: Mapping[str, Any], device: torch.device, precision: str) -> dict[str, Any]:
        """Return the settings of `compile` as JSON values, from the section `inference` of the configuration."""

    def compile(self, network: nn.Module, profile: Profile, program: Path, settings: Mapping[str, Any]) -> None:
        """Compile `network` for inputs of `profile` and write the result to `program`."""

    def load(self, network: nn.Module, program: Path, profile: Profile) -> Program:
        """Return a function that maps a batch to the output of the network; its next call may overwrite that output."""


def dtype_for(backend: Backend, precision: str) -> torch.dtype:
    """Return the dtype of weights and batches of an engine with this precision."""
    return backend.tensors or DTYPES[precision]


def example_for(network: nn.Module, profile: Profile, backend: Backend) -> torch.Tensor:
    """Return a batch of size `profile.opt` in the dtype, device and memory format of `network` and `backend`."""
    parameter = next(network.parameters())
    return profile.example(parameter.dtype, parameter.device, backend.memory_format(parameter.device, parameter.dtype))
