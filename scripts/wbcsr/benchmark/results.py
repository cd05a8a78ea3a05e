"""What the benchmarks have in common once they have measured: columns, numbers as text, and the files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from wbcsr.benchmark.measurements import digits
from wbcsr.benchmark.workers import Outcome
from wbcsr.present.style import house_style, save_figure
from wbcsr.present.table import Column, Table, number, write_table

# The fields of `Timing`, which `asdict` gives.
TIMES = ("repeats", "median_seconds", "min_seconds", "max_seconds")
NUMBERS = (
    *("median_seconds", "min_seconds", "max_seconds", "images_per_second", "peak_memory_mib", "gpu_memory_mib"),
    *("psnr_db", "share_of_limit", "network_share", "share_of_network", "job_seconds", "added_seconds_per_job"),
)
WHOLE_NUMBERS = ("repeats", "images", "height", "width", "processes", "threads", "batch_size", "input_size", "count")


def digit_texts(values: pd.Series) -> list[str]:
    """Each number with three digits; empty for none."""
    return ["" if pd.isna(value) else digits(float(value)) for value in values]


def measured_number(key: str, heading: str) -> Column:
    """A measured number with three digits."""
    return Column(key, heading, lambda rows: digit_texts(rows[key]))


def seconds(heading: str = "s (min to max)") -> Column:
    """Median, least and most of the `TIMES` of each row; empty where nothing was measured."""

    def show(rows: pd.DataFrame) -> list[str]:
        columns = (digit_texts(rows[name]) for name in ("median_seconds", "min_seconds", "max_seconds"))
        return [f"{median} ({least} to {most})" if median else "" for median, least, most in zip(*columns, strict=True)]

    return Column("median_seconds", heading, show)


def memory() -> Column:
    return number("peak_memory_mib", "Memory, MiB", ".0f")


def _reasons(data: pd.DataFrame) -> list[str]:
    return list(data["note"].where(data["repeats"].isna()).fillna(""))


# Why a row has no figure.
REASON = Column("note", "Note", _reasons, style="prose")


def remarks(data: pd.DataFrame) -> str:
    """What is to be said of the rows that have a figure, as a sentence behind others, or nothing."""
    said = data["note"].where(data["repeats"].notna()).dropna().unique()
    return f" Remarks: {'; '.join(said)}." if len(said) else ""


def measured(outcome: Outcome, images: int) -> dict[str, Any]:
    """The cells of a row that say what came of something that goes through `images` images in a run."""
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


def frame(rows: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame:
    """Rows as a table with these columns; a cell without a value is empty, and counts stay whole numbers.

    ValueError where there are words for numbers.
    """
    data = pd.DataFrame(rows, columns=columns)
    types = {**dict.fromkeys(NUMBERS, "float64"), **dict.fromkeys(WHOLE_NUMBERS, "Int64")}
    return data.assign(**{name: pd.to_numeric(data[name]).astype(types[name]) for name in columns if name in types})


def write_results(table: Table, draw: Callable[[pd.DataFrame], Figure], folder: Path) -> None:
    """Write the table as .csv, .md and .tex into `folder`, and what `draw` makes of its data as .png and .svg."""
    write_table(table, folder)
    with house_style():
        save_figure(draw(table.data), folder, table.name)


def with_note(row: dict[str, Any], note: str | None) -> dict[str, Any]:
    """`row` with a further remark behind its own."""
    return {**row, "note": "; ".join(filter(None, [row["note"], note])) or None}
