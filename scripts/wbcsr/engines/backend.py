"""What every backend offers: the one interface behind which a network is made ready."""

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
    """A program that was compiled here cannot be loaded here, as from a folder that may hold no programs."""


class Backend(Protocol):
    """One way to run a network: `compile` writes what `load` needs, once for all jobs.

    `precisions` are those that it computes in here, or None where PyTorch's are its own; `tensors` is the dtype of
    weights, batches and outputs where that is not the precision's. `compile` and `load` see the network in that dtype,
    on its device and in this backend's memory format.
    """

    name: str
    compiles: bool
    packages: tuple[str, ...]
    tensors: torch.dtype | None

    @property
    def precisions(self) -> tuple[str, ...] | None: ...

    def unavailable(self, device: torch.device) -> str | None:
        """Why this backend cannot run on `device` here, or None."""

    def unsuited(self, network: nn.Module) -> str | None:
        """Why this backend cannot run `network` anywhere, or None."""

    def memory_format(self, device: torch.device, dtype: torch.dtype) -> torch.memory_format:
        """How weights and batches lie in memory."""

    def settings(self, inference: Mapping[str, Any], device: torch.device, precision: str) -> dict[str, Any]:
        """The settings of `compile`, from the configuration's section `inference`; JSON can hold them."""

    def compile(self, network: nn.Module, profile: Profile, program: Path, settings: Mapping[str, Any]) -> None:
        """Write the program for inputs of `profile`."""

    def load(self, network: nn.Module, program: Path, profile: Profile) -> Program:
        """A function from a batch to the network's output, which its next call may overwrite."""


def dtype_for(backend: Backend, precision: str) -> torch.dtype:
    """The dtype of weights and batches of an engine of this precision."""
    return backend.tensors or DTYPES[precision]


def example_for(network: nn.Module, profile: Profile, backend: Backend) -> torch.Tensor:
    """A batch of the profile's size `opt`, as `backend` wants it for `network`."""
    parameter = next(network.parameters())
    return profile.example(parameter.dtype, parameter.device, backend.memory_format(parameter.device, parameter.dtype))
