"""Benchmark of our upscaler by batch size, within a time limit: the network alone, and from file to file."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import cycle, islice, pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import nn

from wbcsr.benchmark.clocks import device_clock
from wbcsr.benchmark.figures import Rates, draw
from wbcsr.benchmark.images import count_of, crop_of, gather
from wbcsr.benchmark.implementations import Case, Ours, make_files
from wbcsr.benchmark.layer_times import measure_layers
from wbcsr.benchmark.machine import Machine, among, describe_machine, precisions
from wbcsr.benchmark.peak_rate import Kind, bytes_of, copy_rate, flops_of, make_peak_rate
from wbcsr.benchmark.rounds import MAX_REPEATS, Timing
from wbcsr.benchmark.suite import REASON, TIMES, Suite, measured_number, remarks, with_note
from wbcsr.benchmark.workers import explain
from wbcsr.engines.backends import BACKENDS
from wbcsr.engines.capability import DTYPES, pick_device
from wbcsr.engines.profile import Size
from wbcsr.files import scratch_folder, write_csv
from wbcsr.isolated import IsolatedProcess
from wbcsr.present.table import Column, Table, number, text
from wbcsr.present.text import number_texts
from wbcsr.upscale import upscaler

log = logging.getLogger(__name__)

NETWORK, FILES = "network alone", "file to file"
NOT_REACHED = "the time limit was reached before (benchmark.limit_seconds)"
TOO_LONG = "would take about {:.0f} s, too long for benchmark.limit_seconds"
# The share of the time limit that one measurement may take, so that a slow machine reaches several backends.
ONE_CASE = 0.25
# The share of the time left that compiling the engines of one backend may take.
COMPILING = 0.7
# Cores for each engine that is compiled at the same time as others.
CORES_PER_ENGINE = 4
COLUMNS = [
    *("machine", "network", "backend", "version", "device", "precision", "what", "height", "width", "batch_size"),
    *("images", *TIMES, "images_per_second", "tflop_per_second", "share_of_peak"),
    *("gigabytes_moved", "share_of_copy_rate", "gpu_memory_mib", "network_share", "note"),
]
NOTE = (
    "Network alone: batches in the memory of the device; medians, with minimum and maximum in the CSV file. TFLOP/s: "
    "operations of the network, counted by definition. Share of peak: relative to the highest rate of a large "
    "convolution or matrix product in the same precision and the same run. GB moved: bytes of one batch that PyTorch's "
    "eager operations read and write, counted from the shapes of their tensors; share of copy rate: these bytes per "
    "second, relative to a large copy in the same memory (a compiled network moves fewer, and caches serve some, so it "
    "may exceed 100 %). GPU memory: what PyTorch reserved. Network: fraction of the time from file to file."
)


@dataclass(frozen=True, eq=False)
class Entry:
    """A row: our upscaler with a backend and a precision, and the task; `case.inference` has the batch size.

    `size` (height, width) is that of the network's input: the size of the images, padded.
    """

    implementation: Ours
    case: Case
    what: str
    size: Size

    @property
    def batch_size(self) -> int:
        return min(int(self.case.inference["batch_size"]), len(self.case.files))

    @property
    def least_images(self) -> int:
        """How many images the shortest measurement computes: one run to warm up and one that is measured."""
        return 2 * self.batch_size if self.what == NETWORK else 1 + len(self.case.files)


class Work:
    """The work of a network for inputs of `size` (height, width); `network` cannot run afterwards."""

    def __init__(self, network: nn.Module, size: Size) -> None:
        self._network, self.size = network, size
        self.flops = flops_of(network, size)

    def moved(self, batch: int, precision: str) -> int:
        """Bytes that eager operations read and write for a batch."""
        return bytes_of(self._network, (batch, 3, *self.size), DTYPES[precision])


def benchmark_batches(
    weights: Path,
    manifests: Sequence[Path],
    inference: Mapping[str, Any],
    settings: Mapping[str, Any],
    threads: int,
    folder: Path,
) -> dict[str, Any]:
    """Measure the network in `weights` with each backend, precision and batch size; write table and figure to `folder`.

    `inference` and `settings` are the sections inference and benchmark of the configuration. The first of
    `batch_sizes` is also measured from file to file. After each measurement, the CSV file is written with the rows that
    exist. A case that fails, cannot run here, is not reached before `limit_seconds` or would take more than a share of
    it gets a row with the reason. The smallest batch comes first: its time tells how long the others take.
    For the backend triton, the time of each layer and that of a model are logged and written to layers.csv.
    Returns the machine and the number of measurements. Raises InputError if there are no images.
    """
    limit = time.monotonic() + (settings["limit_seconds"] or float("inf"))
    device = pick_device()
    machine = describe_machine(device, threads)
    rows: list[dict[str, Any]] = []
    layers: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=scratch_folder()) as scratch:
        images = gather(manifests, count_of(settings, device.type), crop_of(settings, device.type), Path(scratch))
        source, architecture = upscaler.source(weights)
        case = Case(weights, architecture.scale, images.files, images.size, threads, inference, Path(scratch))
        height, width = (-(-side // architecture.multiple) * architecture.multiple for side in images.size)
        work = Work(source.network, (height, width))
        formats = {
            backend: among(precisions(device, backend), settings["precisions"]) for backend in settings["backends"]
        }
        kinds = sorted({(device.type, precision) for of in formats.values() for precision in of})
        with IsolatedProcess() as process:
            peaks, copying = process.call(device_rates, kinds, threads)
        for backend, of in formats.items():
            groups = [
                entries_for(Ours(backend, precision, device.type), case, work.size, settings["batch_sizes"])
                for precision in of
            ]
            reasons = compile_engines(backend, groups, device, threads, limit)
            for group in groups:
                for entry, row in measure(group, reasons, settings, limit):
                    full = _with_rates(entry, row, work, peaks, copying) | {"network": weights.stem}
                    rows.append({"machine": machine.hardware, **with_note(full, images.note)})
                    write_csv(folder / "batches.csv", SUITE.frame(rows))
                    if backend == "triton" and "tflop_per_second" in full:
                        layers += compare_layers(entry, full["batch_size"], peaks, copying)
                        write_csv(folder / "layers.csv", pd.DataFrame(layers))
    return SUITE.write(rows, machine, folder)


def entries_for(implementation: Ours, case: Case, size: Size, batch_sizes: Sequence[int]) -> list[Entry]:
    """The rows of one backend and precision: the smallest batch, then the others in the order of their importance."""

    def sized(batch: int, files: Sequence[Path]) -> Case:
        return replace(case, files=files, inference={**case.inference, "batch_size": batch})

    first = batch_sizes[0]
    # An engine is built for the batch size only if there are as many images.
    few = [sized(batch, list(islice(cycle(case.files), batch))) for batch in batch_sizes]
    whole = sized(first, case.files)
    network = [Entry(implementation, each, NETWORK, size) for each in few]
    entries = [network[0], Entry(implementation, whole, FILES, size), *network[1:]]
    smallest = min(network, key=lambda entry: entry.batch_size)
    return [smallest, *(entry for entry in entries if entry is not smallest)]


def device_rates(kinds: Sequence[Kind], threads: int) -> tuple[dict[Kind, float], float]:
    """In a process: the peak rates of the device in FLOP/s, and the rate of a large copy in bytes/s."""
    return make_peak_rate(kinds, threads)().found, copy_rate(kinds[0][0])


def compile_engines(
    backend: str, groups: Sequence[Sequence[Entry]], device: torch.device, threads: int, limit: float
) -> dict[Entry, str]:
    """Build the engines of a backend that compiles, several at once; return why an entry has none."""
    entries = [entry for group in groups for entry in group]
    unavailable = BACKENDS[backend].unavailable(device)
    if unavailable:
        return dict.fromkeys(entries, f"cannot run here: {unavailable}")
    if not BACKENDS[backend].compiles:
        return {}
    now = time.monotonic()
    end = now + COMPILING * (limit - now)
    with ThreadPoolExecutor(max(1, threads // CORES_PER_ENGINE)) as pool:
        needed = [entry for entry in entries if entry.what == NETWORK]
        found = dict(zip(needed, pool.map(partial(_compile, end=end), needed), strict=True))
    # From file to file, the engine of the same batch size is used.
    shared = {(entry.implementation, entry.batch_size): reason for entry, reason in found.items()}
    reasons = {entry: shared.get((entry.implementation, entry.batch_size)) for entry in entries}
    return {entry: reason for entry, reason in reasons.items() if reason}


def _compile(entry: Entry, end: float) -> str | None:
    """Build an engine in its own process, which is stopped at `end`; return why this failed, or None."""
    left = end - time.monotonic()
    if left <= 0:
        return NOT_REACHED
    try:
        with IsolatedProcess(timeout_s=_finite(left)) as process:
            process.call(entry.implementation.build, entry.case)
    except Exception as error:
        return NOT_REACHED if time.monotonic() >= end else explain(error)
    return None


def _finite(seconds: float) -> float | None:
    return None if seconds == float("inf") else seconds


def measure(
    group: Sequence[Entry], reasons: Mapping[Entry, str], settings: Mapping[str, Any], limit: float
) -> Iterator[tuple[Entry, dict[str, Any]]]:
    """Measure the entries of one backend and precision in one process; yield each with its row."""
    at_most = ONE_CASE * (settings["limit_seconds"] or float("inf"))
    images_per_second = float("inf")
    with IsolatedProcess() as process:
        for entry in group:
            left = limit - time.monotonic()
            allowed = min(left, at_most)
            needed = entry.least_images / images_per_second
            reason = reasons.get(entry) or (NOT_REACHED if left <= 0 else None)
            if reason or needed > allowed:
                yield entry, {"note": reason or TOO_LONG.format(needed)}
                continue
            function = measure_network if entry.what == NETWORK else measure_files
            try:
                process.start(function, entry, settings["seconds"], settings["repeats"], allowed)
                row = process.result(_finite(left))
            except Exception as error:
                row = {"note": NOT_REACHED if time.monotonic() >= limit else explain(error)}
            images_per_second = row.get("images_per_second", images_per_second)
            yield entry, row


def compare_layers(entry: Entry, batch: int, peaks: Mapping[Kind, float], copying: float) -> list[dict[str, Any]]:
    """Measure each layer of a triton engine in a process, log its time beside that of the model, and return both."""
    which = entry.implementation
    with IsolatedProcess() as process:
        rows = process.call(measure_layers, which, entry.case, batch, peaks[which.device, which.precision], copying)
    log.info("ms per image of one layer\n%s", pd.DataFrame(rows).to_string(index=False))
    return rows


def measure_network(entry: Entry, seconds: float, repeats: int, allowed: float) -> dict[str, Any]:
    """In a process: run the network on batches in the memory of the device; return the measured cells of the row.

    Fewer than `repeats` runs are measured, at least one, if more would take longer than `allowed` seconds.
    """
    entry.implementation.build(entry.case)  # does nothing if the engine has been compiled
    _forget()
    engine = entry.implementation.load(entry.case).engine
    batch = (
        torch.rand((engine.batch, 3, *entry.size))
        .to(engine.device, engine.dtype)
        .contiguous(memory_format=engine.memory_format)
    )
    clock = device_clock(engine.device)
    with torch.inference_mode():
        engine.run(batch)
        start = clock.mark()
        engine.run(batch)
        once = clock.seconds(start, clock.mark())
        # Without a wait between them, as in a job.
        marks = [clock.mark()]
        for _ in range(int(min(MAX_REPEATS, max(repeats, seconds / once), max(0.0, allowed / once - 2)))):
            engine.run(batch)
            marks.append(clock.mark())
    taken = [clock.seconds(*pair) for pair in pairwise(marks)] or [once]
    return _cells(taken, engine.batch) | {"batch_size": engine.batch, "gpu_memory_mib": _reserved(engine.device)}


def measure_files(entry: Entry, seconds: float, repeats: int, allowed: float) -> dict[str, Any]:
    """In a process: upscale all images from file to file; return the measured cells of the row.

    `allowed` has the meaning that it has for `measure_network`.
    """
    entry.implementation.build(entry.case)
    _forget()
    run = make_files(entry.implementation, entry.case)
    runs = [run()]
    while (spent := sum(run.seconds for run in runs)) + runs[-1].seconds <= allowed and (
        len(runs) < repeats or spent < seconds
    ):
        runs.append(run())
    taken = [run.seconds for run in runs]
    network = sum(run.found.network_seconds for run in runs) / sum(taken)
    return _cells(taken, len(entry.case.files)) | {"network_share": network, "gpu_memory_mib": runs[-1].found.gpu_mib}


def _cells(taken: Sequence[float], images: int) -> dict[str, Any]:
    timing = Timing.of(taken)
    rate = images / timing.median_seconds
    return {"note": None, **asdict(timing), "images": images, "images_per_second": rate}


def _forget() -> None:
    """Return the GPU memory of the measurements before, so that the next one is counted alone."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _reserved(device: torch.device) -> float | None:
    return torch.cuda.max_memory_reserved() / 2**20 if device.type == "cuda" else None


def _with_rates(
    entry: Entry, row: dict[str, Any], work: Work, peaks: Mapping[Kind, float], copying: float
) -> dict[str, Any]:
    """Add what the row is about and, for the network alone, its rates relative to those of the device."""
    which = entry.implementation
    about = {
        "backend": which.backend,
        "version": which.version,
        "device": which.device,
        "precision": which.precision,
        "what": entry.what,
        "height": entry.case.size[0],
        "width": entry.case.size[1],
        "batch_size": entry.batch_size,
    }
    full = {**about, **row}
    if entry.what != NETWORK or "median_seconds" not in row:
        return full
    rate = work.flops * row["images_per_second"]
    moved = work.moved(full["batch_size"], which.precision)
    return full | {
        "tflop_per_second": rate / 1e12,
        "share_of_peak": rate / peaks[which.device, which.precision],
        "gigabytes_moved": moved / 1e9,
        "share_of_copy_rate": moved / row["median_seconds"] / copying,
    }


def batches_table(data: pd.DataFrame, machine: Machine) -> Table:
    """Return the table of the benchmark; `data` has `COLUMNS`."""
    first = data.iloc[0]
    size = f"{first['height']}×{first['width']}"
    return Table(
        name="batches",
        title="Upscaling by batch size",
        caption=f"{machine.sentence()} Network {first['network']}, images of {size}.{remarks(data)}",
        data=data,
        columns=[
            text("backend", "Backend"),
            text("precision", "Precision"),
            text("what", "What"),
            Column("batch_size", "Batch", lambda rows: number_texts(rows["batch_size"], ".0f")),
            measured_number("images_per_second", "Images/s"),
            measured_number("tflop_per_second", "TFLOP/s"),
            number("share_of_peak", "Share of peak", ".0%"),
            measured_number("gigabytes_moved", "GB moved"),
            number("share_of_copy_rate", "Share of copy rate", ".0%"),
            number("gpu_memory_mib", "GPU memory, MiB", ".0f"),
            number("network_share", "Network", ".1%"),
            REASON,
        ],
        note=NOTE,
        source="results/benchmark/batches.csv",
    )


def draw_batches(data: pd.DataFrame) -> Figure:
    """Draw images per second of the network alone, for each backend, precision and batch size that was measured."""
    rows = data[(data["what"] == NETWORK) & data["repeats"].notna()].sort_values(
        ["backend", "precision", "batch_size"], kind="stable"
    )
    labels = [f"{row.backend}, {row.precision}, {row.batch_size}" for row in rows.itertuples()]
    shares = number_texts(rows["share_of_peak"], ".0%")
    return draw([Rates.of("Network alone, by batch size", labels, rows, shares, "of peak")] if len(rows) else [])


SUITE = Suite(COLUMNS, batches_table, draw_batches)
