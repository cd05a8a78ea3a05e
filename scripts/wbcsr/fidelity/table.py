"""The fidelity table: each method in each region, over all photographs and by class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import wilcoxon

from wbcsr.errors import InputError, how_to_regenerate
from wbcsr.fidelity import METRICS, REGIONS, TRUTH, method_heading
from wbcsr.files import read_csv
from wbcsr.present.table import Column, Table, number, text, write_table
from wbcsr.present.text import number_text

# The reference method: its enlargement adds no invented detail.
REFERENCE = "bicubic"
COMPARED = ("psnr", "ssim", "ciede2000", "drift", "niqe")
# The class of rows over all classes: empty, as in leakage.csv, because a class may have any name.
ALL = ""
HEADINGS = {
    "psnr": ("PSNR, dB", ".2f"),
    "ssim": ("SSIM", ".3f"),
    "ciede2000": ("ΔE00", ".2f"),
    "drift": ("Drift", ".2f"),
    "delta_l": ("ΔL*", "+.2f"),
    "delta_a": ("Δa*", "+.2f"),
    "delta_b": ("Δb*", "+.2f"),
    "consistency_psnr": ("Consistency, dB", ".2f"),
    "niqe": ("NIQE", ".2f"),
}
WITH_SPREAD = ("psnr", "ssim", "ciede2000")
NOTE = (
    "Photographs are halved (bicubic kernel, antialiased), upscaled ×2 by each method, and compared with the "
    "originals. The originals are JPEG files, and their artefacts count as truth. Mean over photographs ± standard "
    "deviation. White cell: its nucleus, found by the stain, and a ring around it. ΔE00: mean CIEDE2000 of the pixels. "
    "Drift: CIEDE2000 of the mean colours. ΔL*, Δa*, Δb*: mean of upscaled minus photograph; positive values mean "
    "lighter, redder, yellower. Consistency: PSNR of the upscaled image, halved again, to the halved photograph. NIQE "
    "uses only the upscaled image; a lower value means more natural, not more faithful. The tests treat photographs as "
    "independent and are not corrected for multiple testing."
)


def write_fidelity_table(measurements: Path, classes: Sequence[str], folder: Path) -> None:
    """Write fidelity.csv, .md and .tex into `folder` from the file that `measure_fidelity` wrote."""
    data = compare_methods(read_measurements(measurements), classes)
    write_table(fidelity_table(data), folder, data)


def read_measurements(path: Path) -> pd.DataFrame:
    """The measurements with numbers in the columns of `METRICS`; raises InputError if a value is not a number."""
    table = read_csv(path, ["image", "class", "method", "region", *METRICS])
    try:
        table[list(METRICS)] = table[list(METRICS)].replace("", None).apply(pd.to_numeric).astype(float)
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: has text instead of a number ({error}); {how_to_regenerate(path)}") from error
    return table


def compare_methods(measurements: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """A row for each class, region and method.

    The rows of all classes together come first, and their class is empty. `photographs` is the number of photographs
    that have the region. Each metric has a column with its mean over them and a column `<metric>_sd` with the sample
    standard deviation. `<metric>_difference` is the mean of the paired differences to bicubic, and `<metric>_p` the
    p-value of Wilcoxon's signed-rank test on them (two-sided, not corrected for multiple testing).
    """
    groups = [(ALL, measurements)] + [(name, measurements[measurements["class"] == name]) for name in classes]
    return pd.DataFrame([row for name, rows in groups for row in _rows(name, rows)])


def fidelity_table(data: pd.DataFrame) -> Table:
    """The table of the rows of `compare_methods` that cover all classes."""
    return Table(
        "fidelity",
        "Fidelity",
        "Similarity of halved and upscaled photographs to the originals.",
        data[data["class"] == ALL],
        [
            text("region", "Region", REGIONS.__getitem__),
            text("method", "Method", method_heading),
            *(_metric(metric, *HEADINGS[metric]) for metric in METRICS),
            number("photographs", "n", ".0f"),
        ],
        note=f"{NOTE} The file fidelity.csv has each class, and the paired tests.",
        blocks=("region",),
        title_of=lambda row: REGIONS[row["region"]],
        source="results/tables/fidelity.csv",
    )


def _metric(metric: str, heading: str, form: str) -> Column:
    def show(rows: pd.DataFrame) -> list[str]:
        return [_cell(row, metric, form) for _, row in rows.iterrows()]

    return Column(metric, heading, show)


def paired(values: pd.Series, reference: pd.Series) -> tuple[float, float]:
    """The mean of the differences of pairs with equal index, and Wilcoxon's p-value; NaN if there are no pairs.

    The difference of two infinite values (both images are identical to the truth) counts as 0.
    """
    values, reference = values.align(reference, join="inner")
    known = values.notna() & reference.notna()
    first, second = values[known].to_numpy(float), reference[known].to_numpy(float)
    with np.errstate(invalid="ignore"):
        differences = np.where(first == second, 0.0, first - second)
    if not differences.size:
        return float("nan"), float("nan")
    if not differences.any():
        return 0.0, 1.0
    # Infinite differences rank highest.
    ranked = np.clip(differences, -1e9, 1e9)
    return float(differences.mean()), float(wilcoxon(ranked).pvalue)


def _rows(name: str, measurements: pd.DataFrame) -> list[dict[str, Any]]:
    rows = []
    for region in REGIONS:
        here = measurements[measurements["region"] == region]
        reference = here[here["method"] == REFERENCE].set_index("image")
        for method in here["method"].unique():
            of = here[here["method"] == method].set_index("image")
            known = of["niqe"] if method == TRUTH else of["psnr"]
            row: dict[str, Any] = {"class": name, "region": region, "method": method, "photographs": known.count()}
            for metric in METRICS:
                row[metric], row[f"{metric}_sd"] = of[metric].mean(), _deviation(of[metric])
            for metric in COMPARED:
                apart = method not in (TRUTH, REFERENCE)
                difference, p = paired(of[metric], reference[metric]) if apart else (np.nan, np.nan)
                row |= {f"{metric}_difference": difference, f"{metric}_p": p}
            rows.append(row)
    return rows


def _deviation(values: pd.Series) -> float:
    return float("nan") if np.isinf(values).any() else float(values.std())


def _cell(row: pd.Series, metric: str, form: str) -> str:
    mean, spread = row[metric], row[f"{metric}_sd"]
    if np.isinf(mean):  # an image is identical to the truth
        return "∞"
    deviation = "" if pd.isna(spread) or metric not in WITH_SPREAD else f" ± {spread:{form}}"
    return number_text(mean, form) + deviation
