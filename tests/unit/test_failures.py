"""Errors are one printable line, and a run ends with the error of the last attempt of each failed job."""

from __future__ import annotations

import atexit
import logging
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wbcsr.errors import InputError, user_message
from wbcsr.failures import Failures

HEADER = "10:00:00 upscale on node n1, 2 threads\n"
CANCELLED = "SLURM-job '7' failed, SLURM status is: 'CANCELLED'."


@given(st.text())
@example("mine.pth: \x1b[1mdo those steps only if you t\x1b[0m")
@example("first\n\n  second\r\nthird\u2028fourth")
@example("a\x07b\u202ec\udc80d\te")
def test_an_error_is_one_printable_line(text: str) -> None:
    message = user_message(InputError(text))
    assert message is not None
    assert message.isprintable()
    assert message == text or not text.isprintable() or text != text.strip()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n  b\n", "a b"),
        ("\x1b[1;31mred\x1b[0m and plain", "red and plain"),
        ("folder/näme 猫.png: ends too early", "folder/näme 猫.png: ends too early"),
        ("tab\there", "tab\\there"),
    ],
)
def test_unprintable_characters_are_escaped_or_removed(text: str, message: str) -> None:
    assert str(InputError(text)) == message


class Run:
    """Snakemake's log of one job, `upscale`; the test writes the job's log file."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "upscale.log"
        self.failures = Failures()
        self.job = SimpleNamespace(
            rule=SimpleNamespace(name="upscale"), log=[self.log.name], jobid=3, is_group=lambda: False
        )

    def event(self, event: str, **result: Any) -> None:
        record = logging.makeLogRecord({"event": event, "jobid": 3, "log": [self.log.name], "rule_msg": None, **result})
        self.failures.handle(record)

    def attempt(self, written: str | None, message: str | None = None) -> None:
        """The job starts and fails; `written` is its log (None: it does not start), `said` the executor's message."""
        self.event("job_info")
        if written is not None:
            self.log.write_text(written)
        self.event("job_error", rule_msg=message)

    @property
    def error(self) -> str:
        return self.failures.error(self.job)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    return Run(tmp_path)


TRACE = 'Traceback (most recent call last):\n  File "a.py", line 1, in <module>\n    1 / 0\n'


@pytest.mark.parametrize(
    ("written", "message", "error"),
    [
        (f"{HEADER}10:00:01 error: w.pth: is empty\n", None, "w.pth: is empty"),
        (f"{HEADER}10:00:01 error: w.pth: is empty\n", CANCELLED, "w.pth: is empty"),
        (f"{HEADER}10:00:01 upscale failed\n{TRACE}ZeroDivisionError: by zero\n", None, "bug .*ZeroDivisionError"),
        (f"{HEADER}10:00:01 upscale failed\n{TRACE}ValueError: a\n more\nTrailer\n", None, "bug .*ValueError: a"),
        (
            f"{HEADER}10:00:01 look for error: in it\n",
            None,
            r"upscale ended without a message \(killed\? .*\): Snakemake",
        ),
        (HEADER, CANCELLED, r"upscale ended without a message \(killed\? .*\): SLURM-job '7' .*CANCELLED"),
        (
            None,
            "sbatch failed: 'invalid partition\nnope'\n    call: x",
            r"upscale did not begin: sbatch failed: 'invalid partition nope' \(",
        ),
        (None, None, "upscale did not begin: Snakemake"),
    ],
)
def test_the_error_line_of_a_job(run: Run, written: str | None, message: str | None, error: str) -> None:
    """Also if an earlier run has left a log with another error."""
    run.log.write_text(f"{HEADER}09:00:00 error: old\n")
    run.attempt(written, message)
    assert run.error.isprintable()
    assert re.search(error, run.error)
    assert "old" not in run.error
    assert "(upscale.log)" in run.error or "traceback: upscale.log" in run.error


def test_the_error_of_the_last_attempt_is_printed(run: Run) -> None:
    run.attempt(f"{HEADER}10:00:01 error: first\n", CANCELLED)
    run.attempt(f"{HEADER}10:00:09 error: second\n")
    assert run.error.startswith("second")
    run.attempt(HEADER)
    assert "killed?" in run.error
    run.attempt(None)
    assert "did not begin" in run.error


def scheduler_with(*failed: Any) -> Any:
    """Snakemake's scheduler after these jobs have failed; its executor logs nothing about groups."""
    executor = SimpleNamespace(print_job_error=lambda submitted, message, **details: None)
    return SimpleNamespace(failed=list(failed), _executor=executor)


@pytest.fixture
def at_exit(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """What Failures would do when the process ends."""
    functions: list[Callable[[], None]] = []
    monkeypatch.setattr(atexit, "register", lambda function, *given: functions.append(partial(function, *given)))
    return functions


def test_a_failed_job_has_a_line_however_the_process_ends(
    run: Run, at_exit: list[Callable[[], None]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir("/")
    run.attempt(f"{HEADER}10:00:01 error: first\n")
    run.failures.say_last(scheduler_with(run.job))
    at_exit.pop()()
    assert capsys.readouterr().err == f"error: first ({run.log.name})\n"


@pytest.mark.parametrize(
    ("logs", "message", "line"),
    [
        ([HEADER, f"{HEADER}10:00:01 error: w.pth: is empty\n", None], CANCELLED, r"w\.pth: is empty \(check\.log\)"),
        (
            [HEADER, HEADER, None],
            CANCELLED,
            r"rule check ended without a message \(killed\?.*\): SLURM-job '7' .*CANCELLED.*\(check\.log\)",
        ),
        ([None, None, None], "sbatch failed: 'nope'\n    call: x", "rule compile did not begin: sbatch failed: 'nope'"),
    ],
    ids=["its own error", "killed", "not submitted"],
)
def test_a_failed_group_has_one_line_for_the_job_that_failed(
    logs: list[str | None],
    message: str,
    line: str,
    tmp_path: Path,
    at_exit: list[Callable[[], None]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its jobs run one after another. Snakemake drops what the executor says about a group."""
    monkeypatch.chdir(tmp_path)
    failures = Failures()
    jobs = [
        SimpleNamespace(rule=SimpleNamespace(name=name), log=[f"{name}.log"], jobid=9 - number)
        for number, name in enumerate(["compile", "check", "predict"])
    ]
    group = SimpleNamespace(is_group=lambda: True, jobs=jobs, toposorted=[[job] for job in jobs], name="test")
    scheduler = scheduler_with(group)
    failures.say_last(scheduler)
    (tmp_path / "predict.log").write_text("of an earlier run\n")
    for job in jobs:
        record = {"event": "job_info", "jobid": job.jobid, "log": job.log}
        failures.handle(logging.makeLogRecord(record))
    for number, (job, written) in enumerate(zip(jobs, logs, strict=True)):
        if written is not None:
            (tmp_path / job.log[0]).write_text(written)
            os.utime(tmp_path / job.log[0], (number, number))
    scheduler._executor.print_job_error(SimpleNamespace(job=group), message)
    assert capsys.readouterr().err.startswith("test: ")
    at_exit.pop()()
    (printed,) = capsys.readouterr().err.splitlines()
    assert re.match(f"error: {line}", printed)


def test_a_job_with_missing_output_files_is_not_reported_as_killed(run: Run) -> None:
    """Snakemake reports the missing files and logs no failure of the job."""
    run.event("job_info")
    run.log.write_text(HEADER)
    assert "ended without a message: Snakemake's lines above" in run.error
