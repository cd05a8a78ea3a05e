"""Processes that each hold one thing that is measured, so that its memory is its own, and rounds can alternate."""

from __future__ import annotations

import importlib.util
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from wbcsr import provenance
from wbcsr.benchmark.rounds import Key, Timing, measure_in_rounds
from wbcsr.errors import InputError, first_line
from wbcsr.isolated import EndedError, IsolatedProcess

log = logging.getLogger(__name__)

# In a worker's process: what it holds.
_held: Any = None


class Worker(IsolatedProcess):
    """An isolated process that holds a function and calls it when asked."""

    def hold(self, make: Callable[[], Callable[[], Any]]) -> None:
        """Keep there the function that `make` returns."""
        self.call(_hold, make)

    def start_held(self) -> None:
        """Begin to call the function that is held there; `result` waits for it."""
        self.start(_call_held)

    def call_held(self) -> Any:
        """What the function that is held there returns."""
        return self.call(_call_held)

    def peak_mib(self) -> float:
        """The largest memory that the process had so far (resident set, MiB)."""
        return self.call(provenance.largest_resident_kib) / 1024


@dataclass(frozen=True)
class Run:
    """One run of what is measured: the seconds that it took, and what else there is to say of it."""

    seconds: float
    found: Any = None


@dataclass(frozen=True)
class Outcome:
    """What came of something that was measured: its runs and its process's peak memory, or why there are none."""

    runs: list[Run] = field(default_factory=list)
    peak_mib: float | None = None
    note: str | None = None

    @classmethod
    def of(cls, found: list[float] | Exception, peak_mib: float | None = None) -> Outcome:
        """What `measure_in_rounds` found, where there is nothing to say of the runs but their seconds."""
        if isinstance(found, Exception):
            return cls(note=explain(found))
        return cls([Run(seconds) for seconds in found], peak_mib)

    @property
    def timing(self) -> Timing | None:
        """The statistics of the runs, if there are any."""
        return Timing.of([run.seconds for run in self.runs]) if self.runs else None


def measure_in_workers(
    makes: Mapping[Key, Callable[[], Callable[[], Run]]],
    seconds: float,
    repeats: int,
    builds: Mapping[Key, Callable[[], object]] | None = None,
) -> dict[Key, Outcome]:
    """Measure several things in alternating rounds, each in a process of its own; see `measure_in_rounds`.

    Each of `makes` is called in that process, does what must not be counted, and returns a function that does one
    `Run`. The one of the same key in `builds` runs before, in another process, whose memory does not count. What fails
    has a note in place of its runs, and the others go on.
    """
    outcomes: dict[Key, Outcome] = {}
    runs: dict[Key, list[Run]] = {}
    with ExitStack() as stack:
        workers: dict[Key, Worker] = {}
        for key, make in makes.items():
            log.info("preparing %s", key)
            try:
                if builds and key in builds:
                    with IsolatedProcess() as builder:
                        builder.call(builds[key])
                worker = stack.enter_context(Worker())
                worker.hold(make)
            except Exception as error:
                outcomes[key] = Outcome(note=explain(error))
            else:
                workers[key] = worker
        log.info("measuring %d of %d in rounds", len(workers), len(makes))

        def run(key: Key) -> float:
            runs.setdefault(key, []).append(workers[key].call_held())
            return runs[key][-1].seconds

        found = measure_in_rounds({key: partial(run, key) for key in workers}, seconds, repeats)
        for key, seconds_of in found.items():
            if isinstance(seconds_of, Exception):
                outcomes[key] = Outcome(note=explain(seconds_of))
            else:
                outcomes[key] = Outcome(runs[key], *_peak_of(workers[key]))
    return {key: outcomes[key] for key in makes}


def _peak_of(worker: Worker) -> tuple[float | None, str | None]:
    """The worker's peak memory, or none and why: one that has ended meanwhile has its runs all the same."""
    try:
        return worker.peak_mib(), None
    except EndedError as error:
        return None, f"memory is not known: {error}"


def timed(function: Callable[..., Any], *arguments: Any) -> Run:
    """The run that a call is, and what it gives."""
    started = time.perf_counter()
    found = function(*arguments)
    return Run(time.perf_counter() - started, found)


def warmed(function: Callable[..., object], *arguments: Any) -> Callable[[], Run]:
    """A call as a run that is repeated; done once here, uncounted: the first one compiles, allocates and reads."""
    function(*arguments)
    return lambda: Run(timed(function, *arguments).seconds)


def explain(error: Exception) -> str:
    """Why something has no figure, in a line; the log gets the traceback of what should not have happened."""
    if isinstance(error, InputError):
        log.warning("cannot run here: %s", error)
        return f"cannot run here: {error}"
    log.error("a measurement failed", exc_info=error)
    if isinstance(error, EndedError):
        return f"failed: {error}"
    return f"failed: {type(error).__name__}: {first_line(error)}"


def missing(module: str) -> str | None:
    """Why an implementation cannot run whose Python package has the module `module`, or None where it is installed."""
    found = importlib.util.find_spec(module) is not None
    return None if found else f"{module} is not installed; `make setup-benchmark` installs it"


def _hold(make: Callable[[], Callable[[], Any]]) -> None:
    global _held
    _held = make()


def _call_held() -> Any:
    return _held()
