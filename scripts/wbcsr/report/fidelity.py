"""The report's section on fidelity: its table and figure, and sentences that follow from the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from wbcsr.fidelity import INTERPOLATIONS, METRICS, TRUTH, method_label
from wbcsr.fidelity.table import ALL, COMPARED, REFERENCE, fidelity_table
from wbcsr.present.table import read_table
from wbcsr.present.text import listed
from wbcsr.report.pictures import Figures
from wbcsr.report.wording import counted

# A difference is called clear below this chance of it.
CHANCE = 0.05
# A root mean square difference, of 255, below which an image has lost next to nothing.
LITTLE = 2.0
CAPTION = (
    "One cell of each class: the photograph, the same halved and upscaled again, and where the colours differ. "
    "All differences are on one scale; bright is far from the photograph."
)


def section(paths: Sequence[Path]) -> dict[str, Any] | None:
    """`sentences`, `table` and `picture` from fidelity.csv and fidelity.png; None where nothing was measured."""
    if not paths:
        return None
    csv = next(path for path in paths if path.suffix == ".csv")
    data = read_methods(csv)
    return {
        "sentences": sentences(data),
        "table": fidelity_table(data),
        "picture": Figures(paths).picture("fidelity", CAPTION),
    }


def read_methods(path: Path) -> pd.DataFrame:
    """The rows over all classes of fidelity.csv; InputError where it has words for numbers."""
    compared = [f"{metric}_{suffix}" for metric in COMPARED for suffix in ("difference", "p")]
    data = read_table(path, ["class", "region", "method", "photographs", *METRICS, *compared], texts=3)
    return data[data["class"] == ALL]


def sentences(data: pd.DataFrame) -> list[str]:
    """What the numbers say of the cell, of its colour, and of how natural it looks.

    `data` holds the rows over all classes of fidelity.csv.
    """
    cell = _region(data, "cell")
    if cell.empty or cell["psnr"].isna().all():
        return ["In no photograph was a white cell found by its stain, so only whole images were compared."]
    told = [_nearest(cell)]
    for _, row in cell[~cell["method"].isin(INTERPOLATIONS)].iterrows():
        told.append(_against_bicubic(row, cell.set_index("method", drop=False).loc[REFERENCE]))
    whole = _region(data, "whole").set_index("method", drop=False)
    error = 255 / 10 ** (whole.loc[REFERENCE, "psnr"] / 20)
    if error < LITTLE:
        told.append(
            f"In the whole image {method_label(REFERENCE)} differs from the photograph by only {error:.1f} of 255 "
            "(by the mean PSNR): halving loses hardly any detail of these photographs, so there was little to win back."
        )
    nucleus = _region(data, "nucleus")
    for _, row in nucleus[~nucleus["method"].isin(INTERPOLATIONS)].iterrows():
        told.append(_colour(row, nucleus.set_index("method", drop=False).loc[REFERENCE]))
    told += [_natural(row, data) for _, row in whole[~whole["method"].isin(INTERPOLATIONS)].iterrows()]
    return [sentence for sentence in told if sentence]


def _region(data: pd.DataFrame, region: str) -> pd.DataFrame:
    return data[(data["region"] == region) & (data["method"] != TRUTH)]


def _nearest(cell: pd.DataFrame) -> str:
    """Which method is nearest in the cell, and whether it or bicubic is clearly nearer than the other."""
    best = cell.loc[cell["psnr"].idxmax()]
    told = f"Inside the white cell, {method_label(best['method'])} comes nearest to the truth ({_psnr(best)}"
    if best["method"] != REFERENCE:
        reference = cell[cell["method"] == REFERENCE].iloc[0]
        told += f"; {'clearly' if best['psnr_p'] < CHANCE else 'not clearly'} ahead of {method_label(REFERENCE)}, "
        told += f"{_psnr(reference)}, Wilcoxon, p {_p(best['psnr_p'])}"
    return f"{told}; {counted(int(best['photographs']), 'photograph')})."


def _natural(row: pd.Series, data: pd.DataFrame) -> str:
    """What NIQE says of a network, bicubic and the photographs; empty where the images are too small for it."""
    looks = data[data["region"] == "whole"].set_index("method")["niqe"]
    if pd.isna(row["niqe"]):
        return ""
    how = "clearly" if row["niqe_p"] < CHANCE else "not clearly"
    return (
        f"NIQE, which does not know the truth (less is more natural), is {row['niqe']:.1f} for "
        f"{method_label(row['method'])} and {looks[REFERENCE]:.1f} for {method_label(REFERENCE)}, {how} different "
        f"(p {_p(row['niqe_p'])}); the photographs themselves have {looks[TRUTH]:.1f}."
    )


def _psnr(row: pd.Series) -> str:
    return "identical to it" if row["psnr"] == float("inf") else f"PSNR {row['psnr']:.1f} dB"


def _against_bicubic(row: pd.Series, reference: pd.Series) -> str:
    """By PSNR and SSIM, each with its own test: clear or not."""
    parts = []
    for metric, name, form, unit in (("psnr", "PSNR", ".2f", " dB"), ("ssim", "SSIM", ".3f", "")):
        difference, p = row[f"{metric}_difference"], row[f"{metric}_p"]
        size = f"{abs(difference):{form}}{unit} {'higher' if difference > 0 else 'lower'}"
        how = "clearly" if p < CHANCE else "not clearly"
        if not float(f"{difference:{form}}"):
            parts.append(f"the {name} is the same")
        else:
            parts.append(f"the {name} is {how} different, {size} (Wilcoxon, p {_p(p)})")
    few = " So few photographs cannot show a clear difference." if row["photographs"] < 6 else ""
    names = f"{method_label(row['method'])} beside {method_label(reference['method'])}"
    return f"In the cell, {names}: {listed(parts)}.{few}"


def _colour(row: pd.Series, reference: pd.Series) -> str:
    words = [
        f"{abs(row[key]):.1f} {more if row[key] > 0 else less}"
        for key, more, less in (
            ("delta_l", "lighter", "darker"),
            ("delta_a", "redder", "greener"),
            ("delta_b", "yellower", "bluer"),
        )
        if abs(row[key]) >= 0.05
    ]
    how = "clearly" if row["drift_p"] < CHANCE else "not clearly"
    shift = f" ({listed(words)} in CIELAB on average)" if words else ""
    return (
        f"The mean colour of the nucleus moves by {row['drift']:.2f} CIEDE2000 with {method_label(row['method'])}"
        f"{shift} and by {reference['drift']:.2f} with {method_label(reference['method'])}, {how} different "
        f"(p {_p(row['drift_p'])}); a difference of one is just to be seen."
    )


def _p(value: float) -> str:
    return "below 0.001" if value < 0.001 else f"{value:.3f}"
