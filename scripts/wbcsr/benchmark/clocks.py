"""The seconds that work on a device takes: by the wall clock on a CPU, by the device's own events on a GPU."""

from __future__ import annotations

import time
from typing import Any, Protocol

import torch


class Clock(Protocol):
    """Marks moments, and tells the seconds between two of them later."""

    def mark(self) -> Any: ...

    def seconds(self, start: Any, end: Any) -> float: ...


class WallClock:
    """What a user waits for; right for a run that has finished when it returns."""

    def mark(self) -> float:
        return time.perf_counter()

    def seconds(self, start: float, end: float) -> float:
        return end - start


class CudaEvents:
    """What the GPU itself takes, marked in its current stream, so that nothing waits between the repeats."""

    def mark(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, start: torch.cuda.Event, end: torch.cuda.Event) -> float:
        end.synchronize()
        return start.elapsed_time(end) / 1000


def device_clock(device: torch.device) -> Clock:
    """The clock for work that `device` does on its own: a GPU goes on after a call has returned."""
    return CudaEvents() if device.type == "cuda" else WallClock()
