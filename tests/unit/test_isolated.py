"""Functions in an isolated process: results, errors, crashes and hangs; no process is left running."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wbcsr.errors import InputError
from wbcsr.files import read_json
from wbcsr.isolated import EndedError, IsolatedProcess, run_step
from workloads import count_up, log_a_line, raise_unpicklable, start_child_and_wait


def test_one_process_executes_several_calls() -> None:
    with IsolatedProcess() as process:
        pids = {process.call(os.getpid) for _ in range(2)}
        assert [process.call(count_up), process.call(count_up)] == [1, 2]  # its modules keep their state
        assert process.call(sorted, [2, 1, 3], reverse=True) == [3, 2, 1]
    assert len(pids) == 1
    assert os.getpid() not in pids


def test_an_exception_of_a_call_is_raised_with_its_traceback(tmp_path: Path) -> None:
    with IsolatedProcess() as process:
        with pytest.raises(InputError, match=r"gone\.json: is missing") as raised:
            process.call(read_json, tmp_path / "gone.json")
        assert "in read_json" in raised.value.__notes__[0]
        assert process.call(max, 1, 2) == 2  # the process continues


def test_an_exception_that_cannot_be_pickled_is_reported_by_name() -> None:
    with IsolatedProcess() as process, pytest.raises(RuntimeError, match="CannotBePickledError: at 3"):
        process.call(raise_unpicklable, 3)


@pytest.mark.parametrize(
    ("function", "argument", "message"),
    [
        (os._exit, 3, "its process ended with exit status 3"),
        (sys.exit, 4, "its process ended with exit status 4"),
        (os.kill, 9, "its process was ended by SIGKILL, perhaps because memory ran out"),
        (time.sleep, 60, "it took longer than 1 s and was stopped"),
    ],
)
def test_a_call_that_ends_its_process_or_hangs_is_an_error(
    function: Callable[..., Any], argument: int, message: str
) -> None:
    started = time.monotonic()
    with IsolatedProcess(timeout_s=1 if function is time.sleep else None) as process:
        arguments = (process.call(os.getpid), argument) if function is os.kill else (argument,)
        with pytest.raises(EndedError) as raised:
            process.call(function, *arguments)
    assert str(raised.value) == message
    assert time.monotonic() - started < 30


def test_every_further_call_of_an_ended_process_is_an_error() -> None:
    with IsolatedProcess() as process:
        for _ in range(2):
            with pytest.raises(EndedError, match="exit status 5"):
                process.call(os._exit, 5)


def test_the_output_of_a_process_can_go_to_a_file() -> None:
    with tempfile.TemporaryFile() as output:
        with IsolatedProcess(output=output) as process:
            process.call(print, "of Python", flush=True)
            process.call(os.system, "echo of a program")
        output.seek(0)
        assert output.read().decode().splitlines() == ["of Python", "of a program"]


def test_no_process_is_left_running(tmp_path: Path) -> None:
    """A program that a call started, such as a compiler, is also stopped and causes no delay."""
    sign = tmp_path / "alive"
    started = time.monotonic()
    with IsolatedProcess(timeout_s=2) as process, pytest.raises(EndedError, match="longer than 2 s"):
        process.call(start_child_and_wait, str(sign), 4)
    assert time.monotonic() - started < 30
    time.sleep(4)
    assert not sign.exists()


def test_the_log_of_a_step_goes_to_the_log_file_of_the_job(tmp_path: Path) -> None:
    assert run_step(log_a_line, "compiling", log_file=str(tmp_path / "job.log")) is None
    assert "compiling" in (tmp_path / "job.log").read_text()
