"""Benchmark of how time and memory grow with the number of images, and of several processes at once."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from wbcsr.benchmark.figures import Curve, Panel, Rates, draw
from wbcsr.benchmark.images import count_of, crop_of, gather
from wbcsr.benchmark.implementations import Case, Ours, make_files
from wbcsr.benchmark.machine import Machine, describe_machine
from wbcsr.benchmark.rounds import measure_in_rounds
from wbcsr.benchmark.suite import REASON, TIMES, Suite, measured, measured_number, memory, remarks, seconds, with_note
from wbcsr.benchmark.workers import Outcome, Worker, timed
from wbcsr.engines.backends import BACKENDS
from wbcsr.engines.capability import inference_precision, pick_device
from wbcsr.files import scratch_folder
from wbcsr.isolated import IsolatedProcess
from wbcsr.present.table import Table, number, text
from wbcsr.upscale import upscaler

FACTORS = (1, 2, 4, 8)
IMAGES, PROCESSES = "more images", "more processes"
COLUMNS = [
    *("machine", "what", "device", "backend", "precision", "height", "width", "images", "processes", "threads"),
    *TIMES,
    *("images_per_second", "peak_memory_mib", "note"),
]
NOTE = (
    "Each run is in new processes, which load the engine and upscale one image before the clock starts; then the "
    "shard is processed from file to file, as in a job. Threads are per process. Several processes share the shard, "
    "and the time is that of the last one. Memory: largest resident set of one process. All were "
    "measured once per round; medians, with minimum and maximum."
)


@dataclass(frozen=True, eq=False)
class Point:
    """A shard of the case's images, upscaled by several processes at once, each with the case's threads."""

    what: str
    case: Case
    processes: int


def benchmark_scaling(
    weights: Path,
    manifests: Sequence[Path],
    inference: Mapping[str, Any],
    settings: Mapping[str, Any],
    threads: int,
    folder: Path,
    factors: Sequence[int] = FACTORS,
) -> dict[str, Any]:
    """Measure upscaling as in a job, and write table and figure; parameters as in `benchmark_upscaling`.

    The shards have `factors` times the number of images in the settings.
    """
    device = pick_device()
    machine = describe_machine(device, threads)
    precision = inference_precision(inference["precision"], device, exact_on_cpu=False)
    source, architecture = upscaler.source(weights)
    # Backends without long compilation. A compiled GPU engine has a fixed batch size, so padding would be timed.
    winograd = BACKENDS["winograd"]
    lacking = winograd.unavailable(device) or winograd.unsuited(source.network)
    suits = precision in (winograd.precisions or ()) and not lacking
    system = Ours("winograd" if suits else "eager", precision, device.type)
    with tempfile.TemporaryDirectory(dir=scratch_folder()) as scratch:
        aside = Path(scratch)
        base, crop = count_of(settings, device.type), crop_of(settings, device.type)
        sets = [gather(manifests, factor * base, crop, aside / f"images_x{factor}") for factor in factors]
        cases = [
            Case(weights, architecture.scale, images.files, images.size, threads, inference, aside / "work")
            for images in sets
        ]
        points = points_for(cases, threads)
        outcomes = measure_points(points, system, settings["seconds"], settings["repeats"])
    rows = [
        {"what": point.what, "device": device.type}
        | {"backend": system.backend, "precision": system.precision}
        | {"height": point.case.size[0], "width": point.case.size[1]}
        | {"processes": point.processes, "threads": point.case.threads, "images": len(point.case.files)}
        | measured(outcome, len(point.case.files))
        for point, outcome in zip(points, outcomes, strict=True)
    ]
    return SUITE.write([with_note(row, sets[0].note) for row in rows], machine, folder)


def points_for(cases: Sequence[Case], threads: int) -> list[Point]:
    """Return what is measured: all cases, which have increasing numbers of images, and one case with several processes.

    If there are too few images for a larger case, it equals a smaller one and is left out.
    """
    distinct = list({len(case.files): case for case in cases}.values())
    shared = distinct[min(1, len(distinct) - 1)]
    ways = sorted({(1, 1), (1, threads), (2, max(1, threads // 2))})
    return [
        *(Point(IMAGES, case, 1) for case in distinct),
        *(Point(PROCESSES, replace(shared, threads=each), processes) for processes, each in ways),
    ]


def measure_points(points: Sequence[Point], system: Ours, seconds: float, repeats: int) -> list[Outcome]:
    """Measure all points in alternating rounds; a point that fails gets a note, and the others continue."""
    failed: dict[Point, Exception] = {}
    with IsolatedProcess() as builder:
        for point in points:
            try:
                builder.call(system.build, point.case)
            except Exception as error:
                failed[point] = error
    memory: dict[Point, float] = {}
    runs = {point: partial(_run, point, system, memory) for point in points if point not in failed}
    taken = {**failed, **measure_in_rounds(runs, seconds, repeats)}
    return [Outcome.of(taken[point], memory.get(point)) for point in points]


def _run(point: Point, system: Ours, memory: dict[Point, float]) -> float:
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker()) for _ in range(point.processes)]
        for shard, worker in enumerate(workers, start=1):
            worker.hold(partial(make_files, system, point.case, shard, point.processes))
        done = timed(_call_at_once, workers)
        memory[point] = max(memory.get(point, 0.0), *(worker.peak_mib() for worker in workers))
    return done.seconds


def _call_at_once(workers: Sequence[Worker]) -> None:
    for worker in workers:
        worker.start_held()
    for worker in workers:
        worker.result()


def scaling_table(data: pd.DataFrame, machine: Machine) -> Table:
    """Return the table of the benchmark; `data` has `COLUMNS`."""
    first = data.iloc[0]
    what = f"Images of {first['height']}×{first['width']}, {first['backend']}, {first['precision']}."
    return Table(
        name="scaling",
        title="Scaling",
        caption=f"{machine.sentence()} {what}{remarks(data)}",
        data=data,
        columns=[
            text("what", "What"),
            number("images", "Images", "d"),
            number("processes", "Processes", "d"),
            number("threads", "Threads", "d"),
            seconds(),
            measured_number("images_per_second", "Images/s"),
            memory(),
            REASON,
        ],
        note=NOTE,
        source="results/benchmark/scaling.csv",
    )


def draw_scaling(data: pd.DataFrame) -> Figure:
    """Draw time and memory over the number of images, and images per second by processes and threads."""
    done = data[data["repeats"].notna()]
    grown, shared = (done[done["what"] == what] for what in (IMAGES, PROCESSES))
    panels: list[Panel] = []
    if len(grown):
        panels.append(Curve.of("Images per shard", "Seconds", grown, "images", "median_seconds"))
        panels.append(Curve.of("Images per shard", "Peak memory, MiB", grown, "images", "peak_memory_mib"))
    if len(shared):
        labels = [f"{row.processes} × {row.threads}" for row in shared.itertuples()]
        panels.append(Rates.of("Processes × threads", labels, shared))
    return draw(panels)


SUITE = Suite(COLUMNS, scaling_table, draw_scaling)
