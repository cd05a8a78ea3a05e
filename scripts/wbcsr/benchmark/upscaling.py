"""Benchmark of upscaling, ours and other programs: speed, memory, PSNR against fp32, and fraction of the peak rate."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from wbcsr.benchmark.figures import Rates, draw
from wbcsr.benchmark.images import count_of, crop_of, gather
from wbcsr.benchmark.implementations import (
    Case,
    Images,
    Implementation,
    Ncnn,
    OnnxRuntime,
    OpenVino,
    Ours,
    RealESRGANer,
    make_enlarging,
    make_files,
)
from wbcsr.benchmark.machine import Machine, among, describe_machine, precisions
from wbcsr.benchmark.peak_rate import Kind, flops_of, make_peak_rate
from wbcsr.benchmark.suite import REASON, TIMES, Suite, measured, measured_number, remarks, seconds, with_note
from wbcsr.benchmark.workers import Outcome, Run, measure_in_workers
from wbcsr.checks import psnr
from wbcsr.engines.capability import pick_device
from wbcsr.errors import InputError
from wbcsr.files import scratch_folder
from wbcsr.present.table import Column, Table, number, text
from wbcsr.present.text import number_texts
from wbcsr.upscale import upscaler
from wbcsr.weights import store

PEAK = "peak rate"
ONE, SHARD, FILES = "one image", "a shard", "a shard, file to file"
# Number of images for the comparison with fp32.
COMPARED = 8
COLUMNS = [
    *("machine", "network", "system", "version", "device", "precision", "what", "height", "width", "images"),
    *TIMES,
    *("images_per_second", "peak_memory_mib", "gpu_memory_mib"),
    *("psnr_db", "share_of_peak", "network_share", "note"),
]
NOTE = (
    "All were measured once per round; medians, with minimum and maximum. Each runs in a separate process, whose "
    "largest resident memory is given (on a GPU, the GPU memory that PyTorch reserved). PSNR: 8-bit values compared "
    "with our eager network in fp32, on up to 8 images. Share of peak: FLOP/s of the network, counted by definition, "
    "relative to the highest rate of a large convolution or matrix product in the same precision and the same run; "
    "Winograd's algorithm needs fewer multiplications and may exceed 100 %. "
    "fp32 is without TF32. Network: fraction of the time from file to file."
)


@dataclass(frozen=True, eq=False)
class Entry:
    """An implementation with its task; `make` returns the preparation for its worker (see `measure_in_workers`)."""

    implementation: Implementation
    case: Case
    what: str

    def __str__(self) -> str:
        return f"{self.implementation.name}, {self.implementation.precision}: {self.what}"

    def make(self) -> Callable[[], Callable[[], Run]]:
        if self.what == FILES and isinstance(self.implementation, Ours):
            return partial(make_files, self.implementation, self.case)
        return partial(make_enlarging, self.implementation, self.case, COMPARED)


def benchmark_upscaling(
    weights: Path,
    manifests: Sequence[Path],
    inference: Mapping[str, Any],
    settings: Mapping[str, Any],
    threads: int,
    folder: Path,
) -> dict[str, Any]:
    """Measure upscaling with the network in `weights`, and write table and figure to `folder`.

    Uses images of the `manifests` with the most common size. `inference` and `settings` are the sections inference and
    benchmark of the configuration. A case that fails or cannot run here gets a row with the reason. Returns the machine
    and the number of measurements. Raises InputError if there are no images.
    """
    device = pick_device().type
    machine = describe_machine(torch.device(device), threads)
    implementations = implementations_for(weights, device, settings)
    with tempfile.TemporaryDirectory(dir=scratch_folder()) as scratch:
        aside = Path(scratch)
        images = gather(manifests, count_of(settings, device), crop_of(settings, device), aside / "images")
        source, architecture = upscaler.source(weights)
        whole = Case(weights, architecture.scale, images.files, images.size, threads, inference, aside)
        height, width = (-(-side // architecture.multiple) * architecture.multiple for side in images.size)
        flops = flops_of(source.network, (height, width))
        one = replace(whole, files=images.files[:1])
        # A CPU implementation gets the number of images for a CPU, because it is much slower than the GPU.
        few = replace(whole, files=images.files[: count_of(settings, "cpu")])
        shards = [(each, whole if each.device == device else few) for each in implementations]
        # If the reference is not requested, it is only used for the comparison and gets no row.
        unasked = None if "eager" in settings["backends"] and "fp32" in settings["precisions"] else implementations[0]
        if unasked:
            shards[0] = unasked, replace(whole, files=images.files[:COMPARED])
        # A shard of one image is the same as "one image", which is measured first.
        more = [Entry(each, case, SHARD) for each, case in shards if len(whole.files) > 1]
        own = [(each, case) for each, case in shards if isinstance(each, Ours) and each != unasked]
        more += [Entry(each, case, FILES) for each, case in own]
        rows: list[dict[str, Any]] = []
        for entries in ([Entry(each, one, ONE) for each in implementations], more):
            outcomes, peaks = measure_entries(entries, threads, settings["seconds"], settings["repeats"])
            rows += [
                with_note(row, images.note)
                for entry, row in zip(entries, _rows(outcomes, peaks, flops), strict=True)
                if entry.implementation != unasked
            ]
    return SUITE.write(rows, machine, folder)


def implementations_for(weights: Path, device: str, settings: Mapping[str, Any]) -> list[Implementation]:
    """Return ours with each backend and precision of `device`, and the other programs, as selected in the settings.

    The first one is always the reference, eager in fp32.
    """
    here, cpu = torch.device(device), torch.device("cpu")
    asked = settings["precisions"]
    found: list[Implementation] = [Ours("eager", "fp32", device)]
    found += [
        Ours(backend, precision, device)
        for backend in settings["backends"]
        for precision in among(precisions(here, backend), asked)
        if (backend, precision) != ("eager", "fp32")
    ]
    try:
        param, model = store.wheel_files() if weights.stem == "RealESRGAN_x4plus" else (None, None)
    except InputError:
        param, model = None, None
    without_bf16 = [precision for precision in precisions(here) if precision != "bf16"]
    others: dict[str, list[Implementation]] = {
        "realesrganer": [RealESRGANer(one, device) for one in among(without_bf16, asked)],
        "ncnn": [Ncnn(one, param, model) for one in among(precisions(cpu), asked)],
        "onnxruntime": [OnnxRuntime()],
        "openvino": [OpenVino(one) for one in among(precisions(cpu), asked)],
    }
    return found + [other for name in settings["others"] for other in others[name]]


def measure_entries(
    entries: Sequence[Entry], threads: int, seconds: float, repeats: int
) -> tuple[dict[Entry, Outcome], dict[Kind, float]]:
    """Measure all entries in alternating rounds; returns their outcomes and the peak rates of the machine in FLOP/s."""
    reasons = {entry: entry.implementation.unavailable() for entry in entries}
    able = [entry for entry in entries if not reasons[entry]]
    kinds = sorted({(entry.implementation.device, entry.implementation.precision) for entry in able})
    makes: dict[Entry | str, Callable[[], Callable[[], Run]]] = {entry: entry.make() for entry in able}
    makes[PEAK] = partial(make_peak_rate, kinds, threads)
    builds: dict[Entry | str, Callable[[], object]] = {
        entry: partial(entry.implementation.build, entry.case) for entry in able
    }
    outcomes = measure_in_workers(makes, seconds, repeats, builds)
    found = [run.found for run in outcomes[PEAK].runs]
    peaks = {kind: max(rates[kind] for rates in found) for kind in kinds if found}
    refused = {entry: Outcome(note=f"cannot run here: {reason}") for entry, reason in reasons.items() if reason}
    return {entry: refused.get(entry) or outcomes[entry] for entry in entries}, peaks


def psnr_to(images: Images, reference: Images) -> float:
    """Return the PSNR in dB over all 8-bit values of the images; infinite if they are identical."""
    squares = [np.mean((image.astype(np.float64) - exact) ** 2) for image, exact in zip(images, reference, strict=True)]
    decibels = psnr(float(np.mean(squares)))
    return float("inf") if decibels is None else decibels


def _rows(outcomes: Mapping[Entry, Outcome], peaks: Mapping[Kind, float], flops: int) -> list[dict[str, Any]]:
    """Return a row for each entry; the images of the first entry are the reference for the others."""
    exact = next(map(_images, outcomes.values()))
    return [_row(entry, outcome, exact, peaks, flops) for entry, outcome in outcomes.items()]


def _images(outcome: Outcome) -> Images | None:
    return outcome.runs[0].found.images if outcome.runs else None


def _row(
    entry: Entry, outcome: Outcome, exact: Images | None, peaks: Mapping[Kind, float], flops: int
) -> dict[str, Any]:
    implementation, case = entry.implementation, entry.case
    row: dict[str, Any] = {
        "network": case.weights.stem,
        "system": implementation.name,
        "version": implementation.version,
        "device": implementation.device,
        "precision": implementation.precision,
        "what": entry.what,
        "height": case.size[0],
        "width": case.size[1],
        **measured(outcome, len(case.files)),
    }
    if outcome.runs:
        images, peak = _images(outcome), peaks.get((implementation.device, implementation.precision))
        last = outcome.runs[-1].found
        row |= {
            "gpu_memory_mib": last.gpu_mib,
            "psnr_db": psnr_to(images, exact[: len(images)]) if images and exact else None,
            "share_of_peak": row["images_per_second"] * flops / peak if peak else None,
        }
        if last.network_seconds is not None:
            row["network_share"] = np.median([run.found.network_seconds / run.seconds for run in outcome.runs])
    return row


def upscaling_table(data: pd.DataFrame, machine: Machine) -> Table:
    """Return the table of the benchmark; `data` has `COLUMNS`."""
    shards = data.loc[data["what"] == SHARD, "images"].dropna()
    size = f"{data['height'].iloc[0]}×{data['width'].iloc[0]}"
    count = f" A shard has {_counts(data[data['what'] == SHARD])} images of {size}." if len(shards) else ""
    return Table(
        name="upscaling",
        title="Upscaling",
        caption=f"{machine.sentence()}{count}{remarks(data)}",
        data=data,
        columns=[
            text("system", "Implementation"),
            text("precision", "Precision"),
            text("device", "Device"),
            text("what", "What"),
            measured_number("images_per_second", "Images/s"),
            seconds(),
            Column("memory", "Memory, MiB", _memory),
            Column("psnr_db", "PSNR, dB", _psnr),
            number("share_of_peak", "Share of peak", ".0%"),
            number("network_share", "Network", ".1%"),
            REASON,
        ],
        note=NOTE,
        source="results/benchmark/upscaling.csv",
    )


def _memory(rows: pd.DataFrame) -> list[str]:
    """Return the GPU memory, or the memory of the process if there is none."""
    return number_texts(rows["gpu_memory_mib"].fillna(rows["peak_memory_mib"]), ".0f")


def _psnr(rows: pd.DataFrame) -> list[str]:
    return ["exact" if text == "inf" else text for text in number_texts(rows["psnr_db"], ".1f")]


def _counts(rows: pd.DataFrame) -> str:
    """Return the number of images of the rows; different numbers are listed with their device."""
    counts = rows.dropna(subset="images").drop_duplicates(["device", "images"])
    if counts["images"].nunique() == 1:
        return str(int(counts["images"].iloc[0]))
    return ", ".join(f"{int(row.images)} ({row.device})" for row in counts.itertuples())


def draw_upscaling(data: pd.DataFrame) -> Figure:
    """Draw images per second of each implementation, for one image and for a shard; unmeasured ones are left out."""
    panels = []
    for what in (ONE, SHARD):
        rows = data[(data["what"] == what) & data["repeats"].notna()]
        if len(rows):
            labels = [f"{row.system}, {row.precision}" for row in rows.itertuples()]
            shares = number_texts(rows["share_of_peak"], ".0%")
            title = what.capitalize() if what == ONE else f"A shard of {_counts(rows)}"
            panels.append(Rates.of(title, labels, rows, shares, "of peak"))
    return draw(panels)


SUITE = Suite(COLUMNS, upscaling_table, draw_upscaling)
