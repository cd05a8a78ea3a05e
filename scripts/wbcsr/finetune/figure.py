"""The curves of a fine-tuning: loss, and fidelity in the cells of held-out photographs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from wbcsr.files import read_csv, read_json
from wbcsr.present.style import BLUE, DOUBLE_COLUMN, house_style, save_figure

# Column of the history → heading of its panel.
PANELS = {
    "loss": "L1 loss",
    "psnr": "PSNR in the cell, dB",
    "ssim": "SSIM in the cell",
    "ciede2000": "Colour difference ΔE00",
}


def write_finetuning_figure(histories: Sequence[Path], provenances: Sequence[Path], folder: Path) -> None:
    """Write finetuning.png and .svg into `folder` from the files of `finetune` and of its jobs, one for each split."""
    tables = [read_csv(history, ["step", *PANELS]) for history in histories]
    with house_style():
        save_figure(
            draw_finetuning(tables, [read_json(provenance)["bicubic"] for provenance in provenances]),
            *(folder, "finetuning"),
        )


def draw_finetuning(histories: Sequence[pd.DataFrame], bicubic: Sequence[Mapping[str, float]]) -> Figure:
    """A panel for the loss and for each score by step, a line for each network; grey lines are bicubic enlargement."""
    figure = Figure(figsize=(DOUBLE_COLUMN, 1.7), layout="constrained")
    for axis, (column, heading) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
        for history in histories:
            axis.plot(history["step"], pd.to_numeric(history[column]), color=BLUE, marker="o", markersize=2)
        levels = [scores[column] for scores in bicubic if column in scores]
        for level in levels:
            axis.axhline(level, color="#999999", linewidth=0.6)
        if levels:
            # The curves come from the other side of the line.
            below = max(levels) > pd.to_numeric(histories[0][column]).iloc[0]
            axis.annotate(
                "bicubic", (0, min(levels) if below else max(levels)), xytext=(2, -2 if below else 2),
                textcoords="offset points", color="#666666", verticalalignment="top" if below else "bottom",
            )  # fmt: skip
        axis.set(title=heading, xlabel="Step")
    return figure
