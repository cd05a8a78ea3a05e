"""What was measured and on which machine, as a CSV file and as a Markdown table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import torch

from wbcsr import provenance
from wbcsr.files import write_csv, write_text
from wbcsr.present.table import markdown_text

NETWORK, FILES, LABELS = "network alone", "files to enlarged files", "files to labels"
WHOLE_NUMBERS = ["batch", "height", "width", "scale", "images", "repeats"]


@dataclass(frozen=True)
class Machine:
    """The machine of a measurement: `hardware` in words, `versions` of the packages that decide on speed, the day."""

    hardware: str
    versions: str
    date: str

    def sentence(self) -> str:
        """When and on what something was measured."""
        return f"Measured on {self.date}: {self.hardware}; {self.versions}."


@dataclass(frozen=True)
class Measurement:
    """A row of the CSV file; a field is None where nothing was measured, and `note` says why.

    The network takes `batch` images of `height` and `width` (pixels) at once. The seconds are those of one of
    `repeats` runs with `images` images; `peak_memory_mib` is the GPU's.
    """

    machine: str
    network: str
    backend: str
    precision: str | None = None
    batch: int | None = None
    height: int | None = None
    width: int | None = None
    scale: int | None = None
    what: str | None = None
    images: int | None = None
    repeats: int | None = None
    median_seconds: float | None = None
    min_seconds: float | None = None
    max_seconds: float | None = None
    images_per_second: float | None = None
    peak_memory_mib: float | None = None
    build_seconds: float | None = None
    note: str | None = None


def describe_machine(device: torch.device, threads: int) -> Machine:
    """The machine that this process runs on, where it may use `threads` of the cores."""
    parts = [f"{provenance.processor()}, {threads} of {provenance.cores()} cores"]
    if device.type == "cuda":
        driver = (provenance.gpu() or {}).get("driver", "unknown")
        parts.insert(0, f"{torch.cuda.get_device_name(device)}, driver {driver}, CUDA {torch.version.cuda}")
    versions = provenance.versions()
    named = ["python", "torch", "triton", "torch-tensorrt", "tensorrt"]
    return Machine(
        hardware=" · ".join(parts),
        versions=", ".join(f"{name} {versions[name]}" for name in named if name in versions),
        date=datetime.now(UTC).date().isoformat(),
    )


def write_measurements(measurements: Sequence[Measurement], csv: Path) -> None:
    """Write one row a measurement; cells without a value are empty."""
    table = pd.DataFrame([asdict(row) for row in measurements], columns=[field.name for field in fields(Measurement)])
    write_csv(csv, table.astype(dict.fromkeys(WHOLE_NUMBERS, "Int64")))


def write_markdown(measurements: Sequence[Measurement], machine: Machine, remarks: str, path: Path) -> None:
    """Write a line for each network, backend and precision, the machine above and `remarks` below.

    Time and memory are those of the network alone.
    """
    lines: dict[tuple[str, str, str | None], list[Measurement]] = {}
    for row in measurements:
        lines.setdefault((row.network, row.backend, row.precision), []).append(row)
    table = pd.DataFrame([_line(rows) for rows in lines.values()])
    # Every cell is text already, which tabulate would take apart again.
    body = table.map(markdown_text).to_markdown(index=False, disable_numparse=True)
    write_text(path, "\n\n".join([markdown_text(machine.sentence()), body, remarks]) + "\n")


def _line(rows: Sequence[Measurement]) -> dict[str, str]:
    by_kind = {row.what: row for row in rows}
    first, alone = rows[0], by_kind.get(NETWORK)
    speeds = {kind: digits(by_kind[kind].images_per_second) if kind in by_kind else "" for kind in (FILES, LABELS)}
    return {
        "network": first.network,
        "backend": first.backend,
        "precision": first.precision or "",
        "batch": f"{first.batch} of {first.height}×{first.width}" if first.batch else "",
        "ms a batch (least to most)": _milliseconds(alone) if alone else "",
        "images/s": digits(alone.images_per_second) if alone else "",
        **{f"{kind}, images/s": speed for kind, speed in speeds.items()},
        "GPU memory, MiB": digits(alone.peak_memory_mib) if alone else "",
        "built in, s": digits(first.build_seconds),
        "note": "; ".join(dict.fromkeys(row.note for row in rows if row.note)),
    }


def _milliseconds(row: Measurement) -> str:
    if row.median_seconds is None or row.min_seconds is None or row.max_seconds is None:
        return ""
    median, least, most = (digits(1000 * value) for value in (row.median_seconds, row.min_seconds, row.max_seconds))
    return f"{median} ({least} to {most})"


def digits(value: float | None) -> str:
    """Three significant digits, and no fewer before the point than there are."""
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}"
