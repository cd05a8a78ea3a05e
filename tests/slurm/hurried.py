"""Snakemake with a faster SLURM executor: it checks its jobs every two seconds and repeats unanswered queries.

The unchanged executor waits ten seconds longer before each check, so tests of jobs that take seconds would mostly wait.
If `scontrol` does not report MinJobAge within ten seconds, as on a busy machine, the executor uses sacct. That fails
here, because the tests' SLURM has no accounting; the executor then forgets the jobs and waits forever.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Any

import snakemake_executor_plugin_slurm as plugin
from snakemake.cli import main

Executor, ask = plugin.Executor, plugin.get_min_job_age
look = Executor.check_active_jobs


async def look_again_soon(executor: Any, jobs: list[Any]) -> AsyncIterator[Any]:
    async for job in look(executor, jobs):
        yield job
    executor.next_seconds_between_status_checks = 2


def ask_again() -> int | None:
    return next((age for _ in range(30) if (age := ask()) is not None), None)


Executor.check_active_jobs = look_again_soon
plugin.get_min_job_age = ask_again
sys.exit(main())
