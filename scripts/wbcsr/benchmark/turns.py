"""Several things measured in turn, and the statistics of what each has taken."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

log = logging.getLogger(__name__)
Key = TypeVar("Key", bound=Hashable)

MOST_REPEATS = 100


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


def interleave(
    runs: Mapping[Key, Callable[[], float]], seconds: float, least: int
) -> dict[Key, list[float] | Exception]:
    """Call all `runs` in turn, again and again, so that a machine that drifts does so for all of them alike.

    Each gives the seconds that it counts. Rounds end when the runs have had `seconds` on average, after `least` of them
    at least and `MOST_REPEATS` at most. One that raises has its error in place of its seconds, and the others go on.
    """
    taken: dict[Key, list[float]] = {key: [] for key in runs}
    failed: dict[Key, list[float] | Exception] = {}
    for done in range(1, MOST_REPEATS + 1):
        for key, run in runs.items():
            if key in failed:
                continue
            try:
                taken[key].append(run())
            except Exception as error:
                log.exception("a measurement failed: %s", key)
                failed[key] = error
        spent = [sum(of) for key, of in taken.items() if key not in failed]
        if not spent or (done >= least and sum(spent) >= seconds * len(spent)):
            break
    return taken | failed
