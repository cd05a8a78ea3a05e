"""Timing of work on a device: by wall clock on a CPU, by CUDA events on a GPU."""

from __future__ import annotations

import time
from typing import Any, Protocol

import torch


class Clock(Protocol):
    """Records points in time, and later returns the seconds between two of them."""

    def mark(self) -> Any: ...

    def seconds(self, start: Any, end: Any) -> float: ...


class WallClock:
    """Elapsed real time; correct for work that has finished when its call returns."""

    def mark(self) -> float:
        return time.perf_counter()

    def seconds(self, start: float, end: float) -> float:
        return end - start


class CudaEvents:
    """Time on the GPU, recorded in its current stream, so that no synchronisation is needed between repeats."""

    def mark(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, start: torch.cuda.Event, end: torch.cuda.Event) -> float:
        end.synchronize()
        return start.elapsed_time(end) / 1000


def device_clock(device: torch.device) -> Clock:
    """Return the clock for work on `device`; a GPU may still be computing after a call has returned."""
    return CudaEvents() if device.type == "cuda" else WallClock()
