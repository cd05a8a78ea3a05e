"""Figure 9: accuracy and loss over the epochs of training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from wbcsr.classify.history import best_epoch
from wbcsr.errors import InputError
from wbcsr.files import read_csv
from wbcsr.present.style import BLUE, DOUBLE_COLUMN, VERMILLION
from wbcsr.study.labels import variant_label
from wbcsr.study.plan import Plan


@dataclass(frozen=True)
class Training:
    """One training, and the file of its history; `split` is the name of one fold."""

    split: str
    trained_on: str
    seed: int
    history: Path


HISTORY_COLUMNS = ["epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy"]


def read_histories(histories: Iterable[Training], plan: Plan) -> pd.DataFrame:
    """The epochs of all runs of the first split: the columns trained_on, seed, epoch and those of the history."""
    tables = []
    for run in histories:
        if run.split == plan.splits[0]:
            table = read_csv(run.history, HISTORY_COLUMNS)[HISTORY_COLUMNS]
            try:
                table = table.astype(float).astype({"epoch": int})
            except ValueError as error:
                raise InputError(f"{run.history}: has a cell that is not a number ({error}); train again") from error
            tables.append(table.assign(trained_on=run.trained_on, seed=run.seed))
    return pd.concat(tables, ignore_index=True)


def draw_history(epochs: pd.DataFrame, variants: Sequence[str]) -> Figure:
    """Figure 9: a row of panels for each of `variants`, accuracy on the left and loss on the right.

    Each seed is a thin line and their mean a bold one; the points are the epochs whose models were kept.
    """
    figure = Figure(figsize=(DOUBLE_COLUMN, 0.4 + 2.1 * len(variants)))
    panels = figure.subplots(len(variants), 2, sharex=True, sharey="col", squeeze=False)
    for row, variant in zip(panels, variants, strict=True):
        rows = epochs[epochs["trained_on"] == variant]
        if rows.empty:
            raise InputError(f"histories: none of a run trained on {variant}; take all that the configuration names")
        for axis, quantity in zip(row, ("accuracy", "loss"), strict=True):
            _draw_runs(axis, rows, quantity)
            axis.set_ylabel(f"{quantity.capitalize()}, {variant_label(variant)} images")
    for axis in panels[-1]:
        axis.set_xlabel("Epoch")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def _draw_runs(axis: Axes, rows: pd.DataFrame, quantity: str) -> None:
    for name, subset, colour in (("training", "train", VERMILLION), ("validation", "validation", BLUE)):
        by_seed = rows.pivot(index="epoch", columns="seed", values=f"{subset}_{quantity}")
        mean = by_seed.mean(axis=1)
        mark = "o" if len(mean) == 1 else None  # one epoch makes no line
        if by_seed.shape[1] > 1:
            axis.plot(by_seed.index, by_seed, color=colour, linewidth=0.5, alpha=0.5, marker=mark, markersize=2)
        axis.plot(mean.index, mean, color=colour, linewidth=1.6, marker=mark, markersize=3, label=name)
    kept = pd.DataFrame([run.iloc[best_epoch(run.to_dict("records")) - 1] for _, run in rows.groupby("seed")])
    points: dict[str, Any] = {"color": BLUE, "markeredgecolor": "white", "markersize": 5.5, "zorder": 3}
    axis.plot(kept["epoch"], kept[f"validation_{quantity}"], "o", label="kept epoch of each seed", **points)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axis.set_xlim(rows["epoch"].min() - 0.5, rows["epoch"].max() + 0.5)
