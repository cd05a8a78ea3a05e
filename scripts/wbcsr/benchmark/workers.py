"""Worker processes for measurements: one per case, so that memory is separate and rounds can alternate."""

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

# In a worker process: the function that it holds.
_held: Any = None


class Worker(IsolatedProcess):
    """An isolated process that holds a function and calls it on request."""

    def hold(self, make: Callable[[], Callable[[], Any]]) -> None:
        """Store the function returned by `make` in the worker."""
        self.call(_hold, make)

    def start_held(self) -> None:
        """Start to call the stored function; `result` waits for it."""
        self.start(_call_held)

    def call_held(self) -> Any:
        """Call the stored function and return its result."""
        return self.call(_call_held)

    def peak_mib(self) -> float:
        """Return the largest resident set of the process so far (MiB)."""
        return self.call(provenance.largest_resident_kib) / 1024


@dataclass(frozen=True)
class Run:
    """One measured run: its seconds and further results."""

    seconds: float
    found: Any = None


@dataclass(frozen=True)
class Outcome:
    """The outcome of a measurement: runs and peak memory of the process, or a note why there are none."""

    runs: list[Run] = field(default_factory=list)
    peak_mib: float | None = None
    note: str | None = None

    @classmethod
    def of(cls, found: list[float] | Exception, peak_mib: float | None = None) -> Outcome:
        """Create an outcome from a result of `measure_in_rounds`."""
        if isinstance(found, Exception):
            return cls(note=explain(found))
        return cls([Run(seconds) for seconds in found], peak_mib)

    @property
    def timing(self) -> Timing | None:
        """The statistics of the runs, or None if there are none."""
        return Timing.of([run.seconds for run in self.runs]) if self.runs else None


def measure_in_workers(
    makes: Mapping[Key, Callable[[], Callable[[], Run]]],
    seconds: float,
    repeats: int,
    builds: Mapping[Key, Callable[[], object]] | None = None,
) -> dict[Key, Outcome]:
    """Measure several functions in alternating rounds, each in its own process; see `measure_in_rounds`.

    Each of `makes` is called in that process; it prepares what must not be timed and returns a function that does one
    `Run`. The function with the same key in `builds` is called first, in another process, whose memory is not counted.
    A case that fails gets a note instead of runs, and the others continue.
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
    """Return the worker's peak memory, or the reason why it is not known: a worker may have ended after its runs."""
    try:
        return worker.peak_mib(), None
    except EndedError as error:
        return None, f"memory is unknown: {error}"


def timed(function: Callable[..., Any], *arguments: Any) -> Run:
    """Call a function and return its time and result as a run."""
    started = time.perf_counter()
    found = function(*arguments)
    return Run(time.perf_counter() - started, found)


def warmed(function: Callable[..., object], *arguments: Any) -> Callable[[], Run]:
    """Call a function once as warm-up (compilation, allocation, caches); return a function that repeats it as a run."""
    function(*arguments)
    return lambda: Run(timed(function, *arguments).seconds)


def explain(error: Exception) -> str:
    """Return, in one line, why there is no measurement; the traceback of an unexpected error is logged."""
    if isinstance(error, InputError):
        log.warning("cannot run here: %s", error)
        return f"cannot run here: {error}"
    log.error("a measurement failed", exc_info=error)
    if isinstance(error, EndedError):
        return f"failed: {error}"
    return f"failed: {type(error).__name__}: {first_line(error)}"


def missing(module: str) -> str | None:
    """Return the reason why the implementation that needs `module` cannot run, or None if it is installed."""
    found = importlib.util.find_spec(module) is not None
    return None if found else f"{module} is not installed; `make setup-benchmark` installs it"


def _hold(make: Callable[[], Callable[[], Any]]) -> None:
    global _held
    _held = make()


def _call_held() -> Any:
    return _held()
