"""What all benchmarks share: columns, table, figure, and the files that these are written to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from wbcsr.benchmark.machine import Machine
from wbcsr.benchmark.workers import Outcome
from wbcsr.present.style import house_style, save_figure
from wbcsr.present.table import Column, Table, number, write_table

# The fields of `Timing`, as returned by `asdict`.
TIMES = ("repeats", "median_seconds", "min_seconds", "max_seconds")
NUMBERS = (
    *("median_seconds", "min_seconds", "max_seconds", "images_per_second", "peak_memory_mib", "gpu_memory_mib"),
    *("tflop_per_second", "gigabytes_moved", "share_of_copy_rate"),
    *("psnr_db", "share_of_peak", "network_share", "share_of_network", "job_seconds", "added_seconds_per_job"),
)
WHOLE_NUMBERS = ("repeats", "images", "height", "width", "processes", "threads", "batch_size", "input_size", "count")


@dataclass(frozen=True)
class Suite:
    """The `columns` of a benchmark, and the functions that turn its rows into a table and a figure."""

    columns: list[str]
    table: Callable[[pd.DataFrame, Machine], Table]
    figure: Callable[[pd.DataFrame], Figure]

    def frame(self, rows: list[dict[str, Any]]) -> pd.DataFrame:
        """Return the rows as a data frame; missing values stay empty, and counts stay integers.

        Raises ValueError if a numeric column contains text.
        """
        data = pd.DataFrame(rows, columns=self.columns)
        types = {**dict.fromkeys(NUMBERS, "float64"), **dict.fromkeys(WHOLE_NUMBERS, "Int64")}
        return data.assign(
            **{name: pd.to_numeric(data[name]).astype(types[name]) for name in self.columns if name in types}
        )

    def write(self, rows: list[dict[str, Any]], machine: Machine, folder: Path) -> dict[str, Any]:
        """Write the table as .csv, .md and .tex to `folder`, and the figure as .png and .svg.

        Returns the machine and the number of measurements, for the provenance.
        """
        data = self.frame([{"machine": machine.hardware, **row} for row in rows])
        table = self.table(data, machine)
        write_table(table, folder)
        with house_style():
            save_figure(self.figure(data), folder, table.name)
        return {"measured_on": asdict(machine), "measurements": int(data["repeats"].notna().sum())}


def measured(outcome: Outcome, images: int) -> dict[str, Any]:
    """Return the measured cells of a row; a run processes `images` images."""
    timing = outcome.timing
    if timing is None:
        return {"note": outcome.note}
    return {
        "note": outcome.note,
        **asdict(timing),
        "images": images,
        "images_per_second": images / timing.median_seconds,
        "peak_memory_mib": outcome.peak_mib,
    }


def with_note(row: dict[str, Any], note: str | None) -> dict[str, Any]:
    """Return `row` with `note` appended to its own note."""
    return {**row, "note": "; ".join(filter(None, [row["note"], note])) or None}


def digits(value: float) -> str:
    """Format a number with three significant digits; larger numbers keep all digits before the decimal point."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}"


def digit_texts(values: pd.Series) -> list[str]:
    """Format each number with three digits; missing numbers are empty."""
    return ["" if pd.isna(value) else digits(float(value)) for value in values]


def measured_number(key: str, heading: str) -> Column:
    """Return a column of measured numbers with three digits."""
    return Column(key, heading, lambda rows: digit_texts(rows[key]))


def seconds(heading: str = "s (min to max)") -> Column:
    """Return a column with median, minimum and maximum of `TIMES`; empty if nothing was measured."""

    def show(rows: pd.DataFrame) -> list[str]:
        columns = (digit_texts(rows[name]) for name in ("median_seconds", "min_seconds", "max_seconds"))
        return [f"{median} ({least} to {most})" if median else "" for median, least, most in zip(*columns, strict=True)]

    return Column("median_seconds", heading, show)


def memory() -> Column:
    return number("peak_memory_mib", "Memory, MiB", ".0f")


def _reasons(data: pd.DataFrame) -> list[str]:
    return list(data["note"].where(data["repeats"].isna()).fillna(""))


# The reason why a row has no measurement.
REASON = Column("note", "Note", _reasons, style="prose")


def remarks(data: pd.DataFrame) -> str:
    """Return the notes of the measured rows as a sentence with a leading space, or an empty string."""
    said = data["note"].where(data["repeats"].notna()).dropna().unique()
    return f" Remarks: {'; '.join(said)}." if len(said) else ""
