"""Snakemake as it is, but its SLURM executor looks at its jobs every two seconds, and asks again what was not answered.

By itself it looks ten seconds later each time, and tests of jobs that take seconds would mostly wait for it. Where
`scontrol` has not told MinJobAge within ten seconds, as on a busy machine, it asks sacct, which fails here, since the
tests' SLURM keeps no accounts; and then it forgets the jobs and waits for ever.
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
