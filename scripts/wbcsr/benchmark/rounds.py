"""Measure several functions in alternating rounds, and the statistics of their times."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)

MAX_REPEATS = 100


@dataclass(frozen=True)
class Timing:
    """Statistics of the seconds of `repeats` runs."""

    repeats: int
    median_seconds: float
    min_seconds: float
    max_seconds: float

    @classmethod
    def of(cls, taken: Sequence[float]) -> Timing:
        """Return the statistics of the seconds of each run."""
        return cls(len(taken), statistics.median(taken), min(taken), max(taken))


def measure_in_rounds(
    runs: Mapping[Key, Callable[[], float]], seconds: float, repeats: int
) -> dict[Key, list[float] | Exception]:
    """Call each of `runs` once per round, so that a slowdown of the machine affects all of them equally.

    Each function returns the seconds to count. Rounds end when the runs have taken `seconds` on average, after at least
    `repeats` and at most `MAX_REPEATS` rounds. If a function raises an exception, the exception replaces its seconds,
    and the others continue.
    """
    taken: dict[Key, list[float]] = {key: [] for key in runs}
    failed: dict[Key, list[float] | Exception] = {}
    for done in range(1, MAX_REPEATS + 1):
        for key, run in runs.items():
            if key in failed:
                continue
            try:
                taken[key].append(run())
            except Exception as error:
                failed[key] = error
        spent = [sum(of) for key, of in taken.items() if key not in failed]
        if not spent or (done >= repeats and sum(spent) >= seconds * len(spent)):
            break
    return taken | failed
