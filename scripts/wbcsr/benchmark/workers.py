"""Processes that each hold one thing that is measured, so that its memory is its own and others can take turns."""

from __future__ import annotations

import importlib.util
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from typing import Any, TypeVar

from wbcsr import provenance
from wbcsr.benchmark.turns import Key, Timing, interleave
from wbcsr.engines.fresh import end_with_parent
from wbcsr.errors import InputError, first_line

log = logging.getLogger(__name__)
Result = TypeVar("Result")

# In a worker's process: what it holds.
_held: Any = None


class Worker:
    """A fresh process that does what it is asked, one thing after another; it ends with the `with` block.

    Functions, arguments and results must be what pickle takes. What a function raises, these methods raise.
    """

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=end_with_parent)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, function: Callable[..., Result], *arguments: Any) -> Future[Result]:
        """Begin to call `function` there."""
        return self._pool.submit(function, *arguments)

    def ask(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """What `function` gives there."""
        return self.start(function, *arguments).result()

    def hold(self, make: Callable[..., Any], *arguments: Any) -> None:
        """Keep there what `make` gives, a function."""
        self.ask(_hold, make, arguments)

    def call(self) -> Any:
        """What the function that is held there gives."""
        return self.start_call().result()

    def start_call(self) -> Future[Any]:
        """Begin to call it."""
        return self.start(_call)

    def peak_mib(self) -> float:
        """The largest memory that the process had so far (resident set, MiB)."""
        return self.ask(provenance.largest_resident_kib) / 1024

    def close(self) -> None:
        """End the process, after what it does now."""
        self._pool.shutdown()


@dataclass(frozen=True)
class Run:
    """One run of what is measured: the seconds that it took, and what else there is to say of it."""

    seconds: float
    found: Any = None


@dataclass(frozen=True)
class Outcome:
    """What came of something that had its turns: its runs and its process's peak memory, or why there are none."""

    runs: list[Run] = field(default_factory=list)
    peak_mib: float | None = None
    note: str | None = None

    @classmethod
    def of(cls, found: list[float] | Exception, peak_mib: float | None = None) -> Outcome:
        """What `interleave` found, where there is nothing to say of the runs but their seconds."""
        if isinstance(found, Exception):
            return cls(note=explain(found))
        return cls([Run(seconds) for seconds in found], peak_mib)

    @property
    def timing(self) -> Timing | None:
        """The statistics of the runs, if there are any."""
        return Timing.of([run.seconds for run in self.runs]) if self.runs else None


def take_turns(makes: Mapping[Key, tuple[Any, ...]], seconds: float, least: int) -> dict[Key, Outcome]:
    """Measure several things in turn, each in a process of its own; see `interleave`.

    `makes` names for each a function and its arguments. It is called in that process, does what must not be counted,
    and gives a function that does one `Run`. One that fails has a note in place of its runs, and the others go on.
    """
    outcomes: dict[Key, Outcome] = {}
    with ExitStack() as stack:
        workers: dict[Key, Worker] = {}
        for key, make in makes.items():
            worker = stack.enter_context(Worker())
            try:
                worker.hold(*make)
            except Exception as error:
                log.exception("%s cannot be measured", key)
                worker.close()
                outcomes[key] = Outcome(note=explain(error))
            else:
                workers[key] = worker
        log.info("measuring %d of %d in turn", len(workers), len(makes))
        runs: dict[Key, list[Run]] = {key: [] for key in workers}

        def turn(key: Key) -> float:
            runs[key].append(workers[key].call())
            return runs[key][-1].seconds

        for key, found in interleave({key: partial(turn, key) for key in workers}, seconds, least).items():
            if isinstance(found, Exception):
                outcomes[key] = Outcome(note=explain(found))
            else:
                outcomes[key] = Outcome(runs[key], *_peak_of(workers[key]))
    return {key: outcomes[key] for key in makes}


def _peak_of(worker: Worker) -> tuple[float | None, str | None]:
    """The worker's peak memory, or none and why: one that has ended meanwhile has its runs all the same."""
    try:
        return worker.peak_mib(), None
    except BrokenProcessPool as error:
        return None, f"memory is not known: {explain(error)}"


def timed(function: Callable[..., Any], *arguments: Any) -> Run:
    """The run that a call is, and what it gives."""
    started = time.perf_counter()
    found = function(*arguments)
    return Run(time.perf_counter() - started, found)


def explain(error: Exception) -> str:
    """Why something has no figure, in a line."""
    if isinstance(error, InputError):
        return f"cannot run here: {error}"
    if isinstance(error, BrokenProcessPool):
        return "failed: its process was ended from outside, as where memory runs out"
    return f"failed: {type(error).__name__}: {first_line(error)}"


def missing(module: str) -> str | None:
    """Why a system cannot run whose Python package has the module `module`, or None where it is installed."""
    found = importlib.util.find_spec(module) is not None
    return None if found else f"{module} is not installed; `make setup-benchmark` installs it"


def _hold(make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    global _held
    _held = make(*arguments)


def _call() -> Any:
    return _held()
