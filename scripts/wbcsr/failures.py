"""The last lines of a failed run: one error line for each job that failed in its last attempt."""

from __future__ import annotations

import atexit
import logging
import re
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from wbcsr.errors import one_line


class Failures(logging.Handler):
    """A handler of Snakemake's log that records how the last attempt of each job ended.

    The error itself is read from the job's log file, which is on the shared disk wherever the job ran. Snakemake
    removes that file when the job starts. If its content has not changed since the job was submitted, the job has not
    started.
    """

    def __init__(self) -> None:
        super().__init__()
        self._folder = Path.cwd()  # jobs run here; at the end Snakemake changes back to the first folder
        self._before: dict[int, str] = {}  # content of a job's log file when its latest attempt was submitted
        self._said: dict[int, str] = {}  # the executor's message about the end of that attempt, if any

    def emit(self, record: logging.LogRecord) -> None:
        """Record the events that Snakemake logs when it starts a job and when a job has failed."""
        event = vars(record)
        if event.get("event") == "job_info":
            self._before[event["jobid"]] = self._log_of(event["log"])
            self._said.pop(event["jobid"], None)
        elif event.get("event") == "job_error":
            self._said[event["jobid"]] = event["rule_msg"] or ""

    def say_last(self, scheduler: Any) -> None:
        """Print at exit the error of each job that Snakemake's `scheduler` lists as failed.

        Snakemake's own `onerror` hook is too early for the last lines, and does not run if Snakemake itself aborts.
        """
        self._hear(scheduler._executor)
        atexit.register(self._say, scheduler)

    def _hear(self, executor: Any) -> None:
        """Print and record what an executor says about a failed group of jobs, which Snakemake does not log."""
        report = executor.print_job_error

        def heard(submitted: Any, message: str | None = None, **details: Any) -> None:
            report(submitted, message, **details)
            if submitted.job.is_group() and message:
                self._said |= {job.jobid: message for job in submitted.job.jobs}
                print(f"{submitted.job.name}: {_shortened(message)}", file=sys.stderr, flush=True)

        executor.print_job_error = heard

    def _say(self, scheduler: Any) -> None:
        failed = [self._failed_in(job) if job.is_group() else job for job in scheduler.failed]
        for job in sorted(failed, key=lambda job: job.jobid):
            print(f"error: {self.error(job)}", file=sys.stderr, flush=True)

    def _failed_in(self, group: Any) -> Any:
        """The job of a group that failed: they run one after another, so it is the one whose log was written last."""
        jobs = [job for layer in group.toposorted for job in layer]
        began = [job for job in jobs if self._log_of(job.log) != self._before.get(job.jobid)]
        return max(began, key=lambda job: (self._folder / job.log[0]).stat().st_mtime_ns) if began else jobs[0]

    def error(self, job: Any) -> str:
        """The error of a job's latest attempt, and its log file, in one line."""
        rule, log = job.rule.name, ", ".join(job.log)
        text = self._log_of(job.log)
        if text == self._before.get(job.jobid):
            text = ""
        ends = re.findall(rf"^\d\d:\d\d:\d\d (?:error: (.+)|{rule} failed)$", text, re.MULTILINE)
        if ends and ends[-1]:
            return f"{ends[-1]} ({log})"
        if ends:
            trace = text.rpartition("Traceback (most recent call last):\n")[2]
            last = next((line for line in trace.splitlines() if not line.startswith(" ")), "")
            return (
                f"rule {rule} failed because of a bug in this workflow, not because of your input: {one_line(last)} "
                f"(traceback: {log})"
            )
        said = self._said.get(job.jobid)
        end = "ended without a message" if text else "did not begin"
        if text and said is not None:
            end += " (killed? out of memory? disk full?)"
        why = _shortened(said or "") or "Snakemake's lines above say more"
        return f"rule {rule} {end}: {why} ({log})"

    def _log_of(self, logs: Iterable[str]) -> str:
        """The content of a job's log file, or an empty text if there is none yet."""
        path = self._folder / next(iter(logs), "")
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _shortened(message: str) -> str:
    """An executor's message as one line without its details, which are indented."""
    return textwrap.shorten(one_line(message.partition("\n    ")[0]), 300, placeholder=" …")
