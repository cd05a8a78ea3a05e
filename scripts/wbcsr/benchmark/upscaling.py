"""Enlarging by ours and by others in one run: speed, memory, how far from fp32, and how near the machine's limit."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from wbcsr.benchmark.engines import among, precisions
from wbcsr.benchmark.figures import Rates, draw
from wbcsr.benchmark.images import count_of, crop_of, gather
from wbcsr.benchmark.limit import Kind, flops_of, make_limit
from wbcsr.benchmark.measurements import Machine, describe_machine
from wbcsr.benchmark.results import (
    REASON,
    TIMES,
    frame,
    measured,
    measured_number,
    remarks,
    seconds,
    with_note,
    write_results,
)
from wbcsr.benchmark.systems import (
    Case,
    Images,
    Ncnn,
    OnnxRuntime,
    OpenVino,
    Ours,
    RealESRGANer,
    System,
    make_enlarging,
    make_files,
)
from wbcsr.benchmark.workers import Outcome, Worker, explain, take_turns
from wbcsr.checks import psnr
from wbcsr.engines.capability import pick_device
from wbcsr.errors import InputError
from wbcsr.files import scratch_folder
from wbcsr.present.table import Column, Table, number, text
from wbcsr.present.text import number_texts
from wbcsr.upscale import upscaler
from wbcsr.weights import store

log = logging.getLogger(__name__)

ONE, SHARD, FILES = "one image", "a shard", "a shard, file to file"
# Images by which a system is compared with fp32.
COMPARED = 8
COLUMNS = [
    *("machine", "network", "system", "version", "device", "precision", "what", "height", "width", "images"),
    *TIMES,
    *("images_per_second", "peak_memory_mib", "gpu_memory_mib"),
    *("psnr_db", "share_of_limit", "network_share", "note"),
]
NOTE = (
    "All systems had their turn in each round; medians, with the least and the most. Each lives in a process of its "
    "own, whose largest resident memory is given (on a GPU, what PyTorch held there). PSNR: of 8-bit values to those "
    "of our eager network in fp32, over up to 8 images. Share of limit: the network's FLOP/s, its work counted by "
    "definition, of the highest rate of a large convolution or matrix product in the same precision in the same run; "
    "Winograd's algorithm multiplies less often and may exceed 100 %. "
    "fp32 is without TF32. Network: its share of the time from file to file."
)


@dataclass(frozen=True, eq=False)
class Entry:
    """A system that takes part: what it does, and how its worker gets ready for it (see `take_turns`)."""

    system: System
    case: Case
    what: str

    def make(self) -> tuple[Any, ...]:
        if self.what == FILES:
            return make_files, self.system, self.case
        return make_enlarging, self.system, self.case, COMPARED


def benchmark_upscaling(
    weights: str,
    manifests: Sequence[str],
    inference: Mapping[str, Any],
    settings: Mapping[str, Any],
    threads: int,
    folder: str,
) -> dict[str, Any]:
    """Measure enlarging by the network in `weights` and write the table and the figure into `folder`.

    Images are those of the `manifests` that have the most common size; `inference` and `settings` are the
    configuration's sections inference and benchmark. What cannot run here, or fails, has a row that says why.
    Returns the machine and the number of measurements. InputError where there are no images.
    """
    device = pick_device().type
    machine = describe_machine(torch.device(device), threads)
    systems = systems_for(Path(weights), device, settings)
    paths = [Path(path) for path in manifests]
    with tempfile.TemporaryDirectory(dir=scratch_folder()) as scratch:
        aside = Path(scratch)
        images = gather(paths, count_of(settings, device), crop_of(settings, device), aside / "images")
        source, architecture = upscaler.source(Path(weights))
        whole = Case(Path(weights), architecture.scale, images.files, images.size, threads, inference, aside)
        height, width = (-(-side // architecture.multiple) * architecture.multiple for side in images.size)
        flops = flops_of(source.network, (height, width))
        one = replace(whole, files=images.files[:1])
        # What a GPU does in no time is not asked of the processor beside it.
        few = replace(whole, files=images.files[: count_of(settings, "cpu")])
        shards = [(system, whole if system.device == device else few) for system in systems]
        # The reference, where nobody asks how fast it is: others are compared with it, and it has no row.
        unasked = None if "eager" in settings["backends"] and "fp32" in settings["precisions"] else systems[0]
        if unasked:
            shards[0] = unasked, replace(whole, files=images.files[:COMPARED])
        # A shard of one image has been measured by then.
        more = [Entry(system, case, SHARD) for system, case in shards if len(whole.files) > 1]
        own = [(system, case) for system, case in shards if isinstance(system, Ours) and system != unasked]
        more += [Entry(system, case, FILES) for system, case in own]
        rows: list[dict[str, Any]] = []
        for entries in ([Entry(system, one, ONE) for system in systems], more):
            outcomes, limits = measure_entries(entries, threads, settings["seconds"], settings["repeats"])
            rows += [
                row
                for entry, row in zip(entries, _rows(outcomes, limits, flops), strict=True)
                if entry.system != unasked
            ]
    rows = [{"machine": machine.hardware, **with_note(row, images.note)} for row in rows]
    table = upscaling_table(frame(rows, COLUMNS), machine)
    write_results(table, draw_upscaling, Path(folder))
    return {"measured_on": asdict(machine), "measurements": int(table.data["repeats"].notna().sum())}


def systems_for(weights: Path, device: str, settings: Mapping[str, Any]) -> list[System]:
    """Ours by each backend and precision that `device` has, and the others, as far as the settings name them.

    The first one is the reference, whether they name it or not: eager in fp32. Beside `device`, the others run on the
    CPU.
    """
    here, cpu = torch.device(device), torch.device("cpu")
    asked = settings["precisions"]
    systems: list[System] = [Ours("eager", "fp32", device)]
    systems += [
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
    others: dict[str, list[System]] = {
        "realesrganer": [RealESRGANer(one, device) for one in among(without_bf16, asked)],
        "ncnn": [Ncnn(one, param, model) for one in among(precisions(cpu), asked)],
        "onnxruntime": [OnnxRuntime()],
        "openvino": [OpenVino(one) for one in among(precisions(cpu), asked)],
    }
    return systems + [system for name in settings["others"] for system in others[name]]


def measure_entries(
    entries: Sequence[Entry], threads: int, seconds: float, least: int
) -> tuple[dict[Entry, Outcome], dict[Kind, float]]:
    """Run all entries in turn, each in a process of its own; what came of each, and the machine's limits in FLOP/s."""
    notes = {entry: _build(entry) for entry in entries}
    makes: dict[Entry | None, tuple[Any, ...]] = {entry: entry.make() for entry in entries if not notes[entry]}
    kinds = sorted({(entry.system.device, entry.system.precision) for entry in entries if not notes[entry]})
    makes[None] = (make_limit, kinds, threads)
    outcomes = take_turns(makes, seconds, least)
    found = [run.found for run in outcomes[None].runs]
    limits = {kind: max(rates[kind] for rates in found) for kind in kinds if found}
    return {entry: Outcome(note=notes[entry]) if notes[entry] else outcomes[entry] for entry in entries}, limits


def _build(entry: Entry) -> str | None:
    """Have a process build what the entry's system needs; why it cannot run here, or None."""
    reason = entry.system.unavailable()
    if reason:
        return f"cannot run here: {reason}"
    log.info("making %s, %s ready: %s", entry.system.name, entry.system.precision, entry.what)
    try:
        with Worker() as builder:
            builder.ask(entry.system.build, entry.case)
    except Exception as error:
        log.exception("%s cannot be measured", entry.system.name)
        return explain(error)
    return None


def psnr_to(images: Images, reference: Images) -> float:
    """PSNR in dB over all 8-bit values of some images; infinite where nothing differs."""
    squares = [np.mean((image.astype(np.float64) - exact) ** 2) for image, exact in zip(images, reference, strict=True)]
    decibels = psnr(float(np.mean(squares)))
    return float("inf") if decibels is None else decibels


def _rows(outcomes: Mapping[Entry, Outcome], limits: Mapping[Kind, float], flops: int) -> list[dict[str, Any]]:
    """A row for each entry; the images of the first one are what those of the others are compared with."""
    exact = next(map(_images, outcomes.values()))
    return [_row(entry, outcome, exact, limits, flops) for entry, outcome in outcomes.items()]


def _images(outcome: Outcome) -> Images | None:
    return outcome.runs[0].found.images if outcome.runs else None


def _row(
    entry: Entry, outcome: Outcome, exact: Images | None, limits: Mapping[Kind, float], flops: int
) -> dict[str, Any]:
    system, case = entry.system, entry.case
    row: dict[str, Any] = {
        "network": case.weights.stem,
        "system": system.name,
        "version": system.version,
        "device": system.device,
        "precision": system.precision,
        "what": entry.what,
        "height": case.size[0],
        "width": case.size[1],
        **measured(outcome, len(case.files)),
    }
    if outcome.runs:
        images, limit = _images(outcome), limits.get((system.device, system.precision))
        last = outcome.runs[-1].found
        row |= {
            "gpu_memory_mib": last.gpu_mib,
            "psnr_db": psnr_to(images, exact[: len(images)]) if images and exact else None,
            "share_of_limit": row["images_per_second"] * flops / limit if limit else None,
        }
        if last.network_seconds is not None:
            row["network_share"] = np.median([run.found.network_seconds / run.seconds for run in outcome.runs])
    return row


def upscaling_table(data: pd.DataFrame, machine: Machine) -> Table:
    """The table of the benchmark; `data` has `COLUMNS`."""
    shards = data.loc[data["what"] == SHARD, "images"].dropna()
    size = f"{data['height'].iloc[0]}×{data['width'].iloc[0]}"
    count = f" A shard has {_counts(data[data['what'] == SHARD])} images of {size}." if len(shards) else ""
    return Table(
        name="upscaling",
        title="Upscaling",
        caption=f"{machine.sentence()}{count}{remarks(data)}",
        data=data,
        columns=[
            text("system", "System"),
            text("precision", "Precision"),
            text("device", "Device"),
            text("what", "What"),
            measured_number("images_per_second", "Images/s"),
            seconds(),
            Column("memory", "Memory, MiB", _memory),
            Column("psnr_db", "PSNR, dB", _psnr),
            number("share_of_limit", "Share of limit", ".0%"),
            number("network_share", "Network", ".1%"),
            REASON,
        ],
        note=NOTE,
        source="results/benchmark/upscaling.csv",
    )


def _memory(rows: pd.DataFrame) -> list[str]:
    """Of the GPU, or else of the process."""
    return number_texts(rows["gpu_memory_mib"].fillna(rows["peak_memory_mib"]), ".0f")


def _psnr(rows: pd.DataFrame) -> list[str]:
    return ["exact" if text == "inf" else text for text in number_texts(rows["psnr_db"], ".1f")]


def _counts(rows: pd.DataFrame) -> str:
    """How many images the rows have; of several numbers, each with its device."""
    counts = rows.dropna(subset="images").drop_duplicates(["device", "images"])
    if counts["images"].nunique() == 1:
        return str(int(counts["images"].iloc[0]))
    return ", ".join(f"{int(row.images)} ({row.device})" for row in counts.itertuples())


def draw_upscaling(data: pd.DataFrame) -> Figure:
    """Images a second of each system, for one image and for a shard; systems without a figure are left out."""
    panels = []
    for what in (ONE, SHARD):
        rows = data[(data["what"] == what) & data["repeats"].notna()]
        if len(rows):
            labels = [f"{row.system}, {row.precision}" for row in rows.itertuples()]
            shares = number_texts(rows["share_of_limit"], ".0%")
            title = what.capitalize() if what == ONE else f"A shard of {_counts(rows)}"
            panels.append(Rates.of(title, labels, rows, shares, "of limit"))
    return draw(panels)
