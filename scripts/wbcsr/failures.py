"""What a run that failed says last: one line for each job that failed in the end."""

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
    """A handler of Snakemake's log that remembers of each job what its log held before, and how its last attempt ended.

    The error itself is read from the job's log file, which lies on the shared disk wherever the job ran. Snakemake
    removes that file when a job begins, so the file of an earlier attempt or run is there only until then.
    """

    def __init__(self) -> None:
        super().__init__()
        self._folder = Path.cwd()  # as it is where jobs run; at its end Snakemake goes back
        self._before: dict[int, str] = {}  # what a job's log file held when its latest attempt was started
        self._said: dict[int, str] = {}  # what the executor says of that attempt's end, if it says anything

    def emit(self, record: logging.LogRecord) -> None:
        """Take note of the events that Snakemake logs when it starts a job, and when one has failed."""
        told = vars(record)
        if told.get("event") == "job_info":
            self._before[told["jobid"]] = self._log_of(told["log"])
            self._said.pop(told["jobid"], None)
        elif told.get("event") == "job_error":
            self._said[told["jobid"]] = told["rule_msg"] or ""

    def say_last(self, scheduler: Any) -> None:
        """Have the error of each job that failed in the end, as Snakemake's `scheduler` knows, printed at exit.

        Snakemake says more after its own hook for errors, and does not come to that where it breaks off itself.
        """
        atexit.register(self._say, scheduler)

    def _say(self, scheduler: Any) -> None:
        single = [one for job in scheduler.failed for one in (job.jobs if job.is_group() else [job])]
        for job in sorted(single, key=lambda job: job.jobid):
            print(f"error: {self.error(job)}", file=sys.stderr, flush=True)

    def error(self, job: Any) -> str:
        """The error of a job's latest attempt and the log file that has more, in one line."""
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
            return f"rule {rule} failed by a defect of the program, not of yours: {one_line(last)} (traceback: {log})"
        said = self._said.get(job.jobid)
        end = "ended without a message" if text else "did not begin"
        if text and said is not None:
            end += " (killed? out of memory? disk full?)"
        # An executor's details are indented.
        why = one_line((said or "").partition("\n    ")[0]) or "Snakemake's lines above say more"
        return f"rule {rule} {end}: {textwrap.shorten(why, 300, placeholder=' …')} ({log})"

    def _log_of(self, logs: Iterable[str]) -> str:
        """What a job's log file holds; nothing where there is none yet."""
        path = self._folder / next(iter(logs), "")
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
