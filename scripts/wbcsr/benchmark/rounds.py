"""Several things measured in alternating rounds, and the statistics of what each has taken."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)

MAX_REPEATS = 100


@dataclass(frozen=True)
class Timing:
    """Seconds of one of `repeats` runs."""

    repeats: int
    median_seconds: float
    min_seconds: float
    max_seconds: float

    @classmethod
    def of(cls, taken: Sequence[float]) -> Timing:
        """The statistics of the seconds that each run has taken."""
        return cls(len(taken), statistics.median(taken), min(taken), max(taken))


def measure_in_rounds(
    runs: Mapping[Key, Callable[[], float]], seconds: float, repeats: int
) -> dict[Key, list[float] | Exception]:
    """Call each of `runs` once a round, so that a machine that becomes slower does so for all of them alike.

    Each returns the seconds that it counts. Rounds end when the runs have had `seconds` on average, after at least
    `repeats` and at most `MAX_REPEATS` rounds. One that raises has its error in place of its seconds, and the others
    go on.
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
