"""The report's section on fidelity: its table and figure, and sentences that follow from the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from wbcsr.fidelity import INTERPOLATIONS, METRICS, TRUTH, method_label
from wbcsr.fidelity.table import ALL, COMPARED, REFERENCE, fidelity_table
from wbcsr.present.table import read_table
from wbcsr.present.text import listed, number_text, p_text
from wbcsr.report.numbers import counted
from wbcsr.report.pictures import Figures

# A p-value below this is called a detectable difference.
CHANCE = 0.05
# Below this root mean square difference, of 255, an image has lost almost nothing.
LITTLE = 2.0
# With fewer photographs, Wilcoxon's test cannot reach `CHANCE`.
LEAST_PHOTOGRAPHS = 6
CAPTION = (
    "One cell of each class: the photograph, the same halved and upscaled again, and where the colours differ. "
    "All differences are on one scale; bright means a large difference from the photograph."
)
# What is compared between a network and bicubic: region, metric, its words, format and unit.
SAID = (
    ("cell", "psnr", "PSNR in the white cell", "+.2f", " dB"),
    ("cell", "ssim", "SSIM in the white cell", "+.3f", ""),
    ("nucleus", "drift", "colour difference of the nucleus", "+.2f", " CIEDE2000"),
    ("whole", "niqe", "NIQE of the whole image (less looks more natural)", "+.1f", ""),
)


def section(paths: Sequence[Path]) -> dict[str, Any] | None:
    """`sentences`, `table` and `picture` from fidelity.csv and fidelity.png; None if nothing was measured."""
    if not paths:
        return None
    data = read_methods(next(path for path in paths if path.suffix == ".csv"))
    return {
        "sentences": sentences(data),
        "table": fidelity_table(data),
        "picture": Figures(paths).picture("fidelity", CAPTION),
    }


def read_methods(path: Path) -> pd.DataFrame:
    """The rows of all classes together in fidelity.csv. Raises InputError if it has words instead of numbers."""
    compared = [f"{metric}_{suffix}" for metric in COMPARED for suffix in ("difference", "p")]
    data = read_table(path, ["class", "region", "method", "photographs", *METRICS, *compared], texts=3)
    return data[data["class"] == ALL]


def sentences(data: pd.DataFrame) -> list[str]:
    """Sentences about the cell's sharpness, its colour, and how natural it looks.

    `data` holds the rows over all classes of fidelity.csv.
    """
    rows = data[data["method"] != TRUTH].set_index(["region", "method"])
    cell = rows.loc["cell"] if "cell" in rows.index.get_level_values(0) else rows.iloc[:0]
    if cell.empty or cell["psnr"].isna().all():
        return ["No white cell was found in any photograph; only whole images were compared."]
    best = cell["psnr"].idxmax()
    psnr = cell.loc[best, "psnr"]
    value = "identical to it" if psnr == float("inf") else f"PSNR {psnr:.1f} dB"
    photographs = int(cell.loc[best, "photographs"])
    found = [
        f"Inside the white cell, {method_label(best)} is nearest to the photograph ({value}; "
        f"{counted(photographs, 'photograph')})."
    ]
    found += [
        _against_bicubic(method, rows) for method in cell.index if method not in INTERPOLATIONS and method != REFERENCE
    ]
    error = 255 / 10 ** (rows.loc[("whole", REFERENCE), "psnr"] / 20)
    if error < LITTLE:
        found.append(
            f"In the whole image, {method_label(REFERENCE)} differs from the photograph by only {error:.1f} of 255 "
            "(from the mean PSNR): halving loses hardly any detail of these photographs."
        )
    if photographs < LEAST_PHOTOGRAPHS:
        found.append("Wilcoxon’s test cannot detect a difference with so few photographs.")
    return found


def _against_bicubic(method: str, rows: pd.DataFrame) -> str:
    """The paired difference and test of each measured item of `SAID`."""
    parts = []
    for region, metric, words, form, unit in SAID:
        row = rows.loc[(region, method)]
        difference, p = row[f"{metric}_difference"], row[f"{metric}_p"]
        if pd.notna(difference):
            detected = "" if p < CHANCE else ", no detectable difference"
            parts.append(f"{words} {number_text(difference, form)}{unit} (p\u00a0{p_text(p)}{detected})")
    return f"{method_label(method)} minus {method_label(REFERENCE)}, Wilcoxon’s test: {listed(parts)}."
