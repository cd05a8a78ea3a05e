"""The curves of a fine-tuning: loss, and fidelity in the cells of held-out photographs."""

from __future__ import annotations

from collections.abc import Mapping
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


def write_finetuning_figure(history: Path, provenance: Path, folder: Path) -> None:
    """Write finetuning.png and .svg into `folder` from the files of `finetune` and of its job."""
    table = read_csv(history, ["step", *PANELS])
    with house_style():
        save_figure(draw_finetuning(table, read_json(provenance)["bicubic"]), folder, "finetuning")


def draw_finetuning(history: pd.DataFrame, bicubic: Mapping[str, float]) -> Figure:
    """A panel for the loss and for each score by step; a grey line is bicubic enlargement."""
    figure = Figure(figsize=(DOUBLE_COLUMN, 1.7), layout="constrained")
    for axis, (column, heading) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
        values = pd.to_numeric(history[column])
        axis.plot(history["step"], values, color=BLUE, marker="o", markersize=2)
        if column in bicubic:
            axis.axhline(bicubic[column], color="#999999", linewidth=0.6)
            axis.annotate("bicubic", (0, bicubic[column]), xytext=(2, 2), textcoords="offset points", color="#666666")
        axis.set(title=heading, xlabel="Step")
    return figure
