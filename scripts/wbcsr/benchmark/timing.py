"""How long something takes that is done again and again: warm-up, then the median of repeats."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import torch

from wbcsr.benchmark.turns import MOST_REPEATS, Timing

# A share of the time that a measurement may take: a GPU needs a while to reach its clock.
WARM_UP = 0.1


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


def measure(run: Callable[[], object], seconds: float, least: int, clock: Clock) -> Timing:
    """Repeat `run` for about `seconds`, at least `least` and at most `MOST_REPEATS` times, after a warm-up.

    The first run, which compiles, allocates and chooses algorithms, is never counted; nor is a second one, unless the
    first has already taken longer than `seconds`.
    """
    start = clock.mark()
    run()
    spent = last = clock.seconds(start, clock.mark())
    runs = 1
    while spent < seconds * (WARM_UP if runs > 1 else 1):
        start = clock.mark()
        run()
        last = clock.seconds(start, clock.mark())
        spent, runs = spent + last, runs + 1
    repeats = max(least, min(MOST_REPEATS, int(seconds / last) if last else MOST_REPEATS))
    marks = []
    for _ in range(repeats):
        start = clock.mark()
        run()
        marks.append((start, clock.mark()))
    return Timing.of([clock.seconds(*pair) for pair in marks])
