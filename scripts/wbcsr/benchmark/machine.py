"""The machine of a benchmark and the precisions that it supports."""

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
    """The machine of a benchmark: hardware, versions of the packages that affect speed, and date."""

    hardware: str
    versions: str
    date: str

    def sentence(self) -> str:
        """Return when and on which machine the benchmark ran, as a sentence."""
        return f"Measured on {self.date}: {self.hardware}; {self.versions}."


def describe_machine(device: torch.device, threads: int) -> Machine:
    """Describe the machine that this process runs on; the process may use `threads` cores."""
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
    """Return the precisions that device and backend support without emulation."""
    native = ["fp32", "fp16"] if device.type == "cuda" else ["fp32"]
    native += ["bf16"] if has_fast_bf16(device) else []
    only = BACKENDS[backend].precisions
    # A backend for another device, which supports none of them, is listed with the reason.
    return [precision for precision in native if only is None or precision in only] or native


def among(available: Sequence[str], asked: Container[str]) -> Sequence[str]:
    """Return the available precisions that are requested; all of them if none is."""
    return [precision for precision in available if precision in asked] or available
