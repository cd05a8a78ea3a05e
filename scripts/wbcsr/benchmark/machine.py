"""The machine that something is measured on, and the precisions that it has."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import torch

from wbcsr import provenance
from wbcsr.engines.backends import BACKENDS
from wbcsr.engines.capability import has_fast_bf16


@dataclass(frozen=True)
class Machine:
    """The machine of a measurement: `hardware` in words, `versions` of the packages that decide on speed, the day."""

    hardware: str
    versions: str
    date: str

    def sentence(self) -> str:
        """When and on what something was measured."""
        return f"Measured on {self.date}: {self.hardware}; {self.versions}."


def describe_machine(device: torch.device, threads: int) -> Machine:
    """The machine that this process runs on, where it may use `threads` of the cores."""
    parts = [f"{provenance.processor()}, {threads} of {provenance.cores()} cores"]
    if device.type == "cuda":
        driver = (provenance.gpu() or {}).get("driver", "unknown")
        parts.insert(0, f"{torch.cuda.get_device_name(device)}, driver {driver}, CUDA {torch.version.cuda}")
    versions = provenance.versions()
    named = ["python", "torch", "triton", "torch-tensorrt", "tensorrt"]
    return Machine(
        hardware=" · ".join(parts),
        versions=", ".join(f"{name} {versions[name]}" for name in named if name in versions),
        date=datetime.now(UTC).date().isoformat(),
    )


def precisions(device: torch.device, backend: str = "eager") -> list[str]:
    """The number formats that make sense on a device by a backend: those that they compute in, and do not emulate."""
    only = BACKENDS[backend].precisions
    if only:
        return list(only)
    native = ["fp32", "fp16"] if device.type == "cuda" else ["fp32"]
    return [*native, "bf16"] if has_fast_bf16(device) else native


def among(available: Sequence[str], asked: Container[str]) -> Sequence[str]:
    """The available precisions that are asked for; all of them where none is."""
    return [precision for precision in available if precision in asked] or available
