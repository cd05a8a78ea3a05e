"""Benchmark of the workflow itself: the overhead per job, and the time to plan a study."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from wbcsr import python_path
from wbcsr.benchmark.figures import Curve, Panel, Rates, draw
from wbcsr.benchmark.machine import Machine, describe_machine
from wbcsr.benchmark.rounds import measure_in_rounds
from wbcsr.benchmark.suite import REASON, TIMES, Suite, measured, measured_number, seconds
from wbcsr.benchmark.workers import Outcome, timed
from wbcsr.files import scratch_folder, write_text
from wbcsr.present.table import Column, Table, number, text

JOBS, PLAN = "jobs that do nothing", "planning the study"
# Jobs per run, and shards of the planned study.
COUNTS, SHARDS = (1, 10), (10, 100, 1000)
COLUMNS = ["machine", "what", "count", *TIMES, "job_seconds", "added_seconds_per_job", "note"]
NOTE = (
    "Jobs that do nothing: a separate workflow whose jobs are scripts like those of this workflow, with log, benchmark "
    "and claim, one after another. In jobs: time in their `benchmark:` files. Added: the remaining time per job; with "
    "one job, most of it is the start of Snakemake. Planning: a dry run of config/config.yaml with this number of "
    "shards per variant, partition and class. Medians, with minimum and maximum."
)
SNAKEFILE = """\
rule all:
    input: expand("out/{{number}}.txt", number=range({count}))

rule nothing:
    output: "out/{{number}}.txt"
    log: "logs/{{number}}.log"
    benchmark: "benchmarks/{{number}}.tsv"
    threads: 1
    script: "nothing.py"
"""
SCRIPT = """\
from pathlib import Path

from wbcsr.job import job

with job(snakemake) as facts:
    Path(snakemake.output[0]).touch()
"""


def benchmark_workflow(
    snakefile: str,
    settings: Mapping[str, Any],
    folder: Path,
    counts: Sequence[int] = COUNTS,
    shards: Sequence[int] = SHARDS,
) -> dict[str, Any]:
    """Measure the workflow `snakefile`, and write table and figure to `folder`.

    Runs workflows with `counts` jobs, and plans the study with each number of `shards`. A case that fails gets a row
    with the reason. Returns the machine and the number of measurements.
    """
    machine = describe_machine(torch.device("cpu"), 1)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=scratch_folder()) as scratch:
        aside = Path(scratch)
        own: dict[int, list[float]] = {count: [] for count in counts}
        jobs = measure_in_rounds(
            {count: partial(_run_jobs, count, aside, own[count]) for count in counts},
            settings["seconds"],
            settings["repeats"],
        )
        # Long plans are made once; short ones are repeated as long as time allows.
        plans = measure_in_rounds(
            {count: partial(_plan, snakefile, count, aside) for count in shards}, settings["seconds"], repeats=1
        )
    for count, found in jobs.items():
        row = _row(JOBS, count, found)
        if not isinstance(found, Exception):
            row["job_seconds"] = float(np.median(own[count]))
            added = [wall - spent for wall, spent in zip(found, own[count], strict=True)]
            row["added_seconds_per_job"] = float(np.median(added)) / count
        rows.append(row)
    rows += [_row(PLAN, count, found) for count, found in plans.items()]
    return SUITE.write(rows, machine, folder)


def _row(what: str, count: int, found: list[float] | Exception) -> dict[str, Any]:
    outcome = Outcome.of(found)
    return {"what": what, "count": count, **measured(outcome, count)}


def _run_jobs(count: int, aside: Path, own: list[float]) -> float:
    """Return the seconds of a workflow with `count` jobs; the seconds of the jobs themselves are appended to `own`."""
    with tempfile.TemporaryDirectory(dir=aside) as name:
        folder = Path(name)
        write_text(folder / "Snakefile", SNAKEFILE.format(count=count))
        write_text(folder / "nothing.py", SCRIPT)
        done = timed(_snakemake, folder, "--cores", "1")
        tables = [pd.read_csv(path, sep="\t") for path in sorted((folder / "benchmarks").glob("*.tsv"))]
    own.append(float(sum(table["s"].sum() for table in tables)))
    return done.seconds


def _plan(snakefile: str, shards: int, aside: Path) -> float:
    """Return the seconds of a dry run of the study with `shards`."""
    with tempfile.TemporaryDirectory(dir=aside) as name:
        options = ["--snakefile", snakefile, "--cores", "1", "--dry-run", "--quiet", "all"]
        return timed(_snakemake, Path(name), *options, "--config", f"shards={shards}").seconds


def _snakemake(folder: Path, *arguments: str) -> None:
    """Run Snakemake in `folder` as a user does. Raises RuntimeError with Snakemake's message if it fails."""
    # Without the claim of the measuring job and without the user's Snakemake profile.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WBCSR_", "SNAKEMAKE_"))}
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=folder,
        env={**kept, "PYTHONPATH": python_path()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        start = next((number for number, line in enumerate(lines) if "rror" in line), len(lines) - 1)
        # Snakemake's message is on the line after the location of the error.
        raise RuntimeError(" ".join(lines[start : start + 2]) or "no output")


def workflow_table(data: pd.DataFrame, machine: Machine) -> Table:
    """Return the table of the benchmark; `data` has `COLUMNS`."""
    return Table(
        name="workflow",
        title="Workflow",
        caption=machine.sentence(),
        data=data,
        columns=[
            text("what", "What"),
            Column("count", "Of", _counts, style="text"),
            seconds(),
            measured_number("job_seconds", "In jobs, s"),
            measured_number("added_seconds_per_job", "Added, s per job"),
            number("repeats", "Repeats", "d"),
            REASON,
        ],
        note=NOTE,
        source="results/benchmark/workflow.csv",
    )


def _counts(rows: pd.DataFrame) -> list[str]:
    units = rows["what"].map({JOBS: "jobs", PLAN: "shards"})
    return [f"{count:,} {unit}" for count, unit in zip(rows["count"], units, strict=True)]


def draw_workflow(data: pd.DataFrame) -> Figure:
    """Draw the seconds added per job, and the seconds of planning over the number of shards."""
    done = data[data["repeats"].notna()]
    jobs, plans = (done[done["what"] == what] for what in (JOBS, PLAN))
    panels: list[Panel] = []
    if len(jobs):
        labels = [f"{count} job{'' if count == 1 else 's'}" for count in jobs["count"]]
        added = list(jobs["added_seconds_per_job"])
        panels.append(Rates("Added to each job", labels, added, added, added, xlabel="Seconds per job"))
    if len(plans):
        panels.append(
            Curve.of("Shards", "Seconds to plan the study", plans, "count", "median_seconds", logarithmic=True)
        )
    return draw(panels)


SUITE = Suite(COLUMNS, workflow_table, draw_workflow)
