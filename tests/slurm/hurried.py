"""Snakemake as it is, but its SLURM executor looks at its jobs every two seconds.

By itself it looks ten seconds later each time, and tests of jobs that take seconds would mostly wait for it.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Any

from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor

look = Executor.check_active_jobs


async def look_again_soon(executor: Any, jobs: list[Any]) -> AsyncIterator[Any]:
    async for job in look(executor, jobs):
        yield job
    executor.next_seconds_between_status_checks = 2


Executor.check_active_jobs = look_again_soon
sys.exit(main())
