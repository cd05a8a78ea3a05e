"""Functions for separate processes, and a replacement for these; light packages only, so that they start quickly."""

from __future__ import annotations

import itertools
import logging
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wbcsr.benchmark.implementations import Case, Enlarge, Images
from wbcsr.benchmark.workers import Outcome, Run


def measure_here(
    makes: Mapping[Any, Callable[[], Callable[[], Run]]],
    seconds: float,
    repeats: int,
    builds: Mapping[Any, Callable[[], object]] | None = None,
) -> dict[Any, Outcome]:
    """As `measure_in_workers`, but in this process, and every case has 100 MiB; test_benchmark_rounds.py tests these.

    A process that imports torch costs seconds. As for one, each function is pickled.
    """
    outcomes = {}
    for key, make in makes.items():
        build, begin = pickle.loads(pickle.dumps(((builds or {}).get(key), make)))
        if build is not None:
            build()
        run = begin()
        outcomes[key] = Outcome([run() for _ in range(repeats)], 100.0)
    return outcomes


def make_counting(log: Path, name: str) -> Callable[[], Run]:
    """A function that records its name and reports for each run one second more than for the run before."""
    numbers = itertools.count(1)

    def run() -> Run:
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"{name}\n")
        return Run(float(next(numbers)), os.getpid())

    return run


def make_large(mebibytes: int) -> Callable[[], Run]:
    """A function that allocates this much memory."""
    held = np.ones(mebibytes * 2**20, np.uint8)
    return lambda: Run(0.001, int(held[-1]))


def make_failing_to_start() -> Callable[[], Run]:
    """A function that cannot be created."""
    raise RuntimeError("no such instruction\nmore lines")


def make_dying(run_number: int) -> Callable[[], Run]:
    """A function that ends its process during this run."""
    numbers = itertools.count(1)

    def run() -> Run:
        if next(numbers) == run_number:
            os._exit(9)
        return Run(0.001)

    return run


def make_dying_idle(run_number: int) -> Callable[[], Run]:
    """A function whose process ends shortly after this run, while other functions run."""
    numbers = itertools.count(1)

    def run() -> Run:
        if next(numbers) == run_number:
            threading.Timer(0.1, os._exit, [9]).start()
        return Run(0.001)

    return run


def make_slow() -> Callable[[], Run]:
    """A function that takes some time."""

    def run() -> Run:
        time.sleep(0.7)
        return Run(0.7)

    return run


@dataclass(frozen=True)
class Fake:
    """An implementation that repeats each pixel, adds `error` to it, and fails at a given step."""

    name: str
    error: int = 0
    fails: str = ""
    seconds: float = 0.01
    version = "fake 1"
    precision = "fp32"
    device = "cpu"

    def unavailable(self) -> str | None:
        return "it is not installed" if self.fails == "unavailable" else None

    def build(self, case: Case) -> None:
        if self.fails == "build":
            raise RuntimeError("cannot be exported")

    def load(self, case: Case) -> Enlarge:
        if self.fails == "load":
            raise RuntimeError("no kernel for this processor")
        return self.enlarge

    def enlarge(self, images: Images) -> Images:
        if self.fails == "run":
            raise MemoryError("not enough")
        time.sleep(self.seconds * len(images))
        return [image.repeat(4, 0).repeat(4, 1) + np.uint8(self.error) for image in images]


_counter = itertools.count(1)


def count_up() -> int:
    """A number that increases by one with each call in the same process."""
    return next(_counter)


class CannotBePickledError(Exception):
    """An exception with other arguments than its constructor's, so that it cannot be unpickled."""

    def __init__(self, place: int, reason: str) -> None:
        super().__init__(f"{reason} {place}")


def raise_unpicklable(place: int) -> None:
    raise CannotBePickledError(place, "at")


def start_child_and_wait(sign: str, seconds: float) -> None:
    """Start a program that writes the file `sign` after `seconds`, and do not return."""
    code = f"import time; time.sleep({seconds}); open({sign!r}, 'w')"
    subprocess.Popen([sys.executable, "-c", code])
    time.sleep(60)


def log_a_line(text: str) -> None:
    logging.getLogger("wbcsr.test").info(text)
