"""Measuring in rounds: order, time budget, separate processes; a failure does not affect the other programs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from wbcsr.benchmark.rounds import MAX_REPEATS, measure_in_rounds
from wbcsr.benchmark.workers import Outcome, measure_in_workers, missing
from workloads import make_counting, make_dying, make_dying_idle, make_failing_to_start, make_large, make_slow


def recorded(names: str, seconds: float, order: list[str]) -> dict[str, Callable[[], float]]:
    """A run for each letter: it appends the letter to `order` and takes `seconds`."""

    def run(name: str) -> float:
        order.append(name)
        return seconds

    return {name: lambda name=name: run(name) for name in names}


def test_rounds_continue_until_each_run_has_used_its_time() -> None:
    order: list[str] = []
    taken = measure_in_rounds(recorded("abc", 1.0, order), seconds=5, repeats=3)
    assert "".join(order) == "abc" * 5
    assert taken == {name: [1.0] * 5 for name in "abc"}


@pytest.mark.parametrize(("seconds", "repeats", "rounds"), [(100.0, 3, 3), (100.0, 1, 1), (1e-9, 3, MAX_REPEATS)])
def test_slow_runs_have_a_minimum_and_fast_runs_a_maximum_of_repeats(seconds: float, repeats: int, rounds: int) -> None:
    order: list[str] = []
    measure_in_rounds(recorded("ab", seconds, order), 5, repeats)
    assert "".join(order) == "ab" * rounds


def test_a_run_that_fails_is_left_out_and_the_others_continue() -> None:
    order: list[str] = []
    runs = recorded("ac", 1.0, order)

    def fail() -> float:
        if order.count("a") == 2:
            raise MemoryError("too large")
        return 1.0

    taken = measure_in_rounds({"a": runs["a"], "b": fail, "c": runs["c"]}, seconds=4, repeats=3)
    assert taken["a"] == taken["c"] == [1.0] * 4
    assert isinstance(taken["b"], MemoryError)
    assert all(isinstance(found, ValueError) for found in measure_in_rounds({"x": lambda: int("x")}, 1, 1).values())


def test_each_program_has_its_own_process_and_runs_once_per_round(tmp_path: Path) -> None:
    log = tmp_path / "order"
    outcomes = measure_in_workers({name: partial(make_counting, log, name) for name in "ab"}, seconds=6, repeats=3)
    assert log.read_text().split() == ["a", "b"] * 3  # 1 + 2 + 3 seconds, as the runs report
    processes = [{run.found for run in outcome.runs} for outcome in outcomes.values()]
    assert [len(of) for of in processes] == [1, 1]
    assert processes[0] != processes[1]
    timing = outcomes["a"].timing
    assert timing is not None
    assert (timing.repeats, timing.min_seconds, timing.median_seconds, timing.max_seconds) == (3, 1, 2, 3)


def test_memory_is_that_of_the_process_only() -> None:
    outcomes = measure_in_workers(
        {"small": partial(make_large, 1), "large": partial(make_large, 300)}, seconds=0.001, repeats=3
    )
    small, large = (outcomes[name].peak_mib for name in ("small", "large"))
    assert small is not None
    assert large is not None
    assert 250 < large - small < 350


def test_a_process_that_ends_early_or_cannot_start_has_a_note(tmp_path: Path) -> None:
    makes = {
        "cannot start": make_failing_to_start,
        "dies": partial(make_dying, 2),
        "goes on": partial(make_counting, tmp_path / "order", "x"),
    }
    outcomes = measure_in_workers(makes, seconds=6, repeats=3)
    assert list(outcomes) == list(makes)
    assert outcomes["cannot start"] == Outcome(note="failed: RuntimeError: no such instruction")
    assert outcomes["dies"] == Outcome(note="failed: its process ended with exit status 9")
    assert [run.seconds for run in outcomes["goes on"].runs] == [1, 2, 3]
    assert outcomes["cannot start"].timing is None


def test_a_process_that_ends_after_its_last_run_keeps_its_measurements() -> None:
    outcomes = measure_in_workers({"dies": partial(make_dying_idle, 3), "goes on": make_slow}, seconds=0.001, repeats=3)
    assert [len(outcome.runs) for outcome in outcomes.values()] == [3, 3]
    assert outcomes["dies"].peak_mib is None
    assert str(outcomes["dies"].note).startswith("memory is unknown: its process ended with exit status 9")
    assert outcomes["goes on"].note is None


def test_a_missing_program_has_installation_instructions() -> None:
    assert missing("numpy") is None
    assert missing("no_such_module") == "no_such_module is not installed; `make setup-benchmark` installs it"
