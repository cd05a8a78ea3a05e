"""The report's section on fine-tuning: what the fine-tuned network does better or worse than others, and its cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from wbcsr.config import Config, is_finetuned, parse_variant
from wbcsr.fidelity import method_label
from wbcsr.present.tables.cost import NOT_MEASURED
from wbcsr.present.text import listed, number_text
from wbcsr.report.answer import compared_text
from wbcsr.report.fidelity import read_methods
from wbcsr.report.numbers import counted
from wbcsr.report.pictures import Figures
from wbcsr.report.results import find_arm, find_difference
from wbcsr.stats.cost import DEVICES, UNITS
from wbcsr.study.labels import variant_label
from wbcsr.study.plan import Plan

CAPTION = (
    "The fine-tuning: its loss, and the averaged network’s fidelity in the white cells of photographs that it was not "
    "trained on."
)
# The methods that the fine-tuned network is compared with.
OTHERS = ("bicubic", "realesrgan")
# What is compared in the cell: its words, format, unit, and whether more is better.
SCORES = {
    "psnr": ("PSNR", ".1f", " dB", True),
    "ssim": ("SSIM", ".3f", "", True),
    "ciede2000": ("colour difference", ".2f", " CIEDE2000", False),
}


def section(
    results: Mapping[str, pd.DataFrame],
    fidelity: Sequence[Path],
    jobs: Sequence[Mapping[str, Any]],
    figures: Figures,
    config: Config,
) -> dict[str, Any] | None:
    """`sentences` and `picture` about the first fine-tuned variant; None if the configuration has none.

    `results` are the tables of `read_tables`, `fidelity` is fidelity.csv and fidelity.png or empty, `jobs` are the
    records of all jobs.
    """
    variant = next(filter(is_finetuned, config["variants"]), None)
    if variant is None:
        return None
    table = next((path for path in fidelity if path.suffix == ".csv"), None)
    return {
        "sentences": [
            fidelity_text(read_methods(table) if table else None),
            *classification_texts(variant, results["differences"], Plan.of(config)),
            cost_text(variant, results, jobs, Plan.of(config)),
        ],
        "picture": figures.picture("finetuning", CAPTION),
    }


def fidelity_text(data: pd.DataFrame | None) -> str:
    """What is better and worse inside the cell, with the numbers; `data` holds the rows of fidelity.csv, if any."""
    cell = pd.DataFrame() if data is None else data[data["region"] == "cell"].set_index("method")
    own = next(filter(is_finetuned, cell.index), None)
    if own is None or pd.isna(cell.loc[own, "psnr"]):
        return f"Fidelity in the white cell: {NOT_MEASURED}."
    parts = [
        f"compared with {method_label(other)}, {_better_and_worse(cell.loc[own], cell.loc[other])}"
        for other in cell.index
        if parse_variant(other)[0] in OTHERS
    ]
    photographs = counted(int(cell.loc[own, "photographs"]), "photograph")
    return f"Fidelity of the fine-tuned network in the white cell of {photographs} that it has not seen: " + (
        "; ".join(parts) + "."
    )


def _better_and_worse(own: pd.Series, other: pd.Series) -> str:
    """`better in PSNR (43.1 and 33.8 dB), worse in …`; what has the same printed number is the same."""
    found: dict[str, list[str]] = {"better": [], "the same": [], "worse": []}
    for metric, (words, form, unit, more) in SCORES.items():
        texts = [number_text(row[metric], form) for row in (own, other)]
        word = "better" if (own[metric] > other[metric]) == more else "worse"
        found["the same" if texts[0] == texts[1] else word].append(f"{words} ({' and '.join(texts)}{unit})")
    return ", ".join(f"{word} in {listed(each)}" for word, each in found.items() if each)


def classification_texts(variant: str, differences: pd.DataFrame, plan: Plan) -> Iterator[str]:
    """The difference in classification to each of `OTHERS`, with its interval and verdict."""
    for other in (name for name in plan.variants if parse_variant(name)[0] in OTHERS):
        pairs = ((variant, other), (other, variant))
        rows = [find_difference(differences, *plan.judged, *pair) for pair in pairs]
        found = next((compared_text(row, *pair) for row, pair in zip(rows, pairs, strict=True) if row is not None), "")
        yield f"Classification compared with {variant_label(other)}: {found or NOT_MEASURED}."


def cost_text(variant: str, results: Mapping[str, pd.DataFrame], jobs: Sequence[Mapping[str, Any]], plan: Plan) -> str:
    """The steps, photographs and cost of the fine-tuning."""
    row = find_arm(results["cost"].assign(subset=""), plan.judged[0], "", variant)
    amounts = [
        f"{number_text(row[f'finetuning_{device}_seconds'], ',.0f')} {UNITS[device]}"
        for device in DEVICES
        if row is not None and row[f"finetuning_{device}_seconds"] > 0
    ]
    tuned = [job for job in jobs if job["rule"] == "finetune_upscaler"]
    what = "".join(
        f"{counted(job['steps'], 'step')} on {counted(job['photographs'], 'photograph')}, the weights of step "
        f"{job['best_step']:,} kept; "
        for job in tuned[:1]
    )
    first = f" (the first of {counted(len(tuned), 'network')}, one for each split and fold)" if len(tuned) > 1 else ""
    return f"Fine-tuning{first}: {what}cost {' and '.join(amounts) or NOT_MEASURED}."
