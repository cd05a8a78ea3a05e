"""The study's figures of our own runs, a confusion matrix of every arm, and all accuracies and how they differ.

All are drawn in the style of `wbcsr.present.style`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from wbcsr.classify.history import best_epoch
from wbcsr.errors import InputError
from wbcsr.files import read_csv
from wbcsr.present.cells import Cell, choose_cells, field_of_view, field_side, read_manifests
from wbcsr.present.figures.curves import draw_curves, draw_reliability
from wbcsr.present.style import (
    BLUE,
    CHARACTER,
    DOTS_PER_INCH,
    DOUBLE_COLUMN,
    GREY,
    LINE,
    PAGE_HEIGHT,
    SINGLE_COLUMN,
    STYLE,
    VERMILLION,
    draw_notice,
    house_style,
    line_count,
    save_figure,
    wrapped,
)
from wbcsr.present.table import read_table
from wbcsr.stats.calibration import Probabilities, matched_arms
from wbcsr.stats.differences import COLUMNS, TEXTS
from wbcsr.stats.predictions import Arm, read_arms, run_of
from wbcsr.study import published
from wbcsr.study.labels import NO_ENHANCED, QUESTIONS, arm_label, class_labels, confusion_name, variant_label
from wbcsr.study.plan import Plan

HISTORY_COLUMNS = ["epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy"]

# Colour, mark and place beside the row's middle of each subset's accuracies.
SUBSET_MARKS = {"validation": (BLUE, "o", -0.16), "test": (VERMILLION, "s", 0.16)}
STUDY_MARK: dict[str, Any] = {"marker": "D", "color": GREY, "markerfacecolor": "none", "markersize": 4}


def write_figures(
    splits: Iterable[str | Path],
    sources: str | Path,
    predictions: Iterable[str | Path],
    differences: str | Path,
    histories: Iterable[str | Path],
    manifests: Iterable[str | Path],
    plan: Plan,
    folder: str | Path,
) -> None:
    """Write every figure that `wbcsr.study.labels.figure_names` lists, as .png and .svg, into `folder`.

    `splits` are the files <split>.csv, `sources` and `differences` the CSV files of that name, `predictions` and
    `histories` those of all runs, and `manifests` those of all images of all variants; the images lie beside them.
    """
    with house_style():
        for name, figure in _figures(splits, sources, predictions, differences, histories, manifests, plan):
            save_figure(figure, folder, name)


def _figures(
    splits: Iterable[str | Path],
    sources: str | Path,
    predictions: Iterable[str | Path],
    differences: str | Path,
    histories: Iterable[str | Path],
    manifests: Iterable[str | Path],
    plan: Plan,
) -> Iterator[tuple[str, Figure]]:
    images = read_manifests(manifests)
    cells = choose_cells(images, plan)
    yield "fig2", draw_examples(cells, plan)
    yield "fig3", draw_enlargements(cells, images, plan)
    epochs = read_histories(histories, plan)
    for variant, accuracy_name, loss_name in (("original", "fig9", "fig10"), (plan.enhanced, "fig11", "fig12")):
        for name, quantity in ((accuracy_name, "accuracy"), (loss_name, "loss")):
            yield name, draw_history(epochs, quantity, variant) if variant else draw_notice(NO_ENHANCED)
    arms = read_arms(predictions, splits, sources, plan)
    own = [arm for arm in arms if plan.is_own(arm.trained_on, arm.tested_on)]
    yield "accuracy", draw_accuracies(own, plan)
    compared = read_table(differences, COLUMNS, TEXTS)
    split, subset = plan.judged
    yield "differences", draw_differences(compared[(compared["split"] == split) & (compared["subset"] == subset)])
    probabilities = [Probabilities.of(arm) for arm in own]
    for split in plan.splits:
        matched = matched_arms(probabilities, split)
        yield f"reliability_{split}", draw_reliability(matched)
        yield f"curves_{split}", draw_curves(matched)
    for arm in own:
        yield confusion_name(arm.split, arm.trained_on, arm.tested_on, arm.subset), draw_confusion(arm, plan)


def draw_examples(cells: dict[str, Cell], plan: Plan) -> Figure:
    """Figure 2: one original image of each class."""
    columns = min(len(cells), 4)
    rows = math.ceil(len(cells) / columns)
    width = SINGLE_COLUMN if columns == 2 else DOUBLE_COLUMN * columns / 4
    labels = [wrapped(label, 26) for label in class_labels(plan.classes)]
    shape = max(cell.pixels.shape[0] / cell.pixels.shape[1] for cell in cells.values())
    panel = width / columns * shape + LINE * line_count(labels)
    figure = Figure(figsize=(width, rows * panel), layout="compressed")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, cell, label in zip(axes, cells.values(), labels, strict=False):
        axis.imshow(cell.pixels, interpolation="nearest")
        axis.set_title(label, pad=3)
    return figure


def draw_enlargements(cells: dict[str, Cell], images: pd.DataFrame, plan: Plan) -> Figure:
    """Figure 3: the same field of view around one cell of each class, as each variant shows it.

    The rows are `original`, the first bicubic variant if there is one, and the enhanced one, four classes
    side by side. The field is a square a fifth wider than the largest of the cells, the same for all
    classes, and the rows say how many pixels it has. Pixels are drawn as the squares they are, unless there
    are more of them than dots of print.
    """
    bicubic = next((variant for variant in plan.variants if variant.startswith("bicubic")), None)
    variants = list(dict.fromkeys(variant for variant in ("original", bicubic, plan.enhanced) if variant))
    field = field_side(cells)
    columns = min(len(cells), 4)
    blocks = math.ceil(len(cells) / columns)
    labels = [wrapped(label, 20) for label in class_labels(plan.classes)]
    headings = blocks * LINE * line_count(labels)
    # Four classes fill the width of a page; more must not be higher than one, unless they would become too small.
    side = max(1.2, min(1.7, (PAGE_HEIGHT - headings) / (blocks * len(variants))))
    figure = Figure(figsize=(side * columns + 0.4, side * blocks * len(variants) + headings), layout="compressed")
    axes = figure.subplots(blocks * len(variants), columns, squeeze=False)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for number, (cell, label) in enumerate(zip(cells.values(), labels, strict=True)):
        block, column = divmod(number, columns)
        for row, variant in enumerate(variants, start=block * len(variants)):
            crop = field_of_view(cell, field, images, variant)
            fits = crop.shape[1] <= side * DOTS_PER_INCH
            axes[row, column].imshow(crop, interpolation="nearest" if fits else "antialiased")
            if column == 0:
                axes[row, column].set_ylabel(f"{variant_label(variant)}\n{crop.shape[1]} × {crop.shape[0]} px")
        axes[block * len(variants), column].set_title(label, pad=3)
    return figure


def read_histories(histories: Iterable[str | Path], plan: Plan) -> pd.DataFrame:
    """The epochs of all runs of the first split: the columns trained_on, seed, epoch and those of the history."""
    tables = []
    for path in histories:
        run = run_of(path)
        if run.split == plan.splits[0]:
            table = read_csv(path, HISTORY_COLUMNS)[HISTORY_COLUMNS]
            try:
                table = table.astype(float).astype({"epoch": int})
            except ValueError as error:
                raise InputError(f"{path}: has a cell that is not a number ({error}); train again") from error
            tables.append(table.assign(trained_on=run.trained_on, seed=run.seed))
    return pd.concat(tables, ignore_index=True)


def draw_history(epochs: pd.DataFrame, quantity: str, variant: str) -> Figure:
    """Figures 9 to 12: `quantity` (accuracy or loss) of training and validation over the epochs of one variant.

    Each seed is a thin line and their mean a bold one; the points are the epochs whose models were kept.
    """
    rows = epochs[epochs["trained_on"] == variant]
    if rows.empty:
        raise InputError(f"histories: none of a run trained on {variant}; take all that the configuration names")
    figure = Figure(figsize=(SINGLE_COLUMN, 2.5))
    axis = figure.subplots()
    for name, subset, colour in (("training", "train", VERMILLION), ("validation", "validation", BLUE)):
        by_seed = rows.pivot(index="epoch", columns="seed", values=f"{subset}_{quantity}")
        mean = by_seed.mean(axis=1)
        mark = "o" if len(mean) == 1 else None  # one epoch makes no line
        if by_seed.shape[1] > 1:
            axis.plot(by_seed.index, by_seed, color=colour, linewidth=0.5, alpha=0.5, marker=mark, markersize=2)
        axis.plot(mean.index, mean, color=colour, linewidth=1.6, marker=mark, markersize=3, label=name)
    kept = pd.DataFrame([run.iloc[best_epoch(run.to_dict("records")) - 1] for _, run in rows.groupby("seed")])
    note = f"kept: epoch {kept['epoch'].iloc[0]}" if len(kept) == 1 else "kept epochs"
    points: dict[str, Any] = {"color": BLUE, "markeredgecolor": "white", "markersize": 5.5, "zorder": 3}
    axis.plot(kept["epoch"], kept[f"validation_{quantity}"], "o", label=note, **points)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axis.set_xlim(rows["epoch"].min() - 0.5, rows["epoch"].max() + 0.5)
    axis.set_xlabel("Epoch")
    axis.set_ylabel(f"{quantity.capitalize()}, {variant_label(variant)} images")
    figure.legend(loc="outside upper center", ncols=3, columnspacing=1.2, handlelength=1.4, handletextpad=0.5)
    return figure


def draw_confusion(arm: Arm, plan: Plan) -> Figure:
    """The confusion matrix of an arm's first run: in each cell the count and its share of the row, which shades it."""
    seed, matrix = arm.first
    counts = matrix.to_numpy()
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    labels = class_labels(plan.classes)
    size = len(labels)
    width = SINGLE_COLUMN if size <= 4 else max(DOUBLE_COLUMN, 0.5 * size + 1.2)
    actual = [wrapped(label, 16) for label in labels]
    side = (width - 0.3 - CHARACTER * max(len(line) for label in actual for line in label.split("\n"))) / size
    # Below the cells the names stand upright where their longest word is no wider than a cell.
    fitting = int(side / CHARACTER)
    upright = all(len(word) <= fitting for label in labels for word in re.split(r"(?<=[\s_-])", label))
    predicted = [wrapped(label, fitting) for label in labels] if upright else actual
    below = LINE * line_count(predicted) if upright else 0.7 * (width - 0.3 - side * size)
    figure = Figure(figsize=(width, size * side + below + 0.6))
    axis = figure.subplots()
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(counts.shape):
        share = f"\n{100 * shares[row, column]:.1f} %" if totals[row] else ""
        colour = "white" if shares[row, column] > 0.5 else "black"
        axis.text(column, row, f"{counts[row, column]:,}{share}", ha="center", va="center", color=colour, fontsize=7)
    if upright:
        axis.set_xticks(range(size), predicted)
    else:
        axis.set_xticks(range(size), predicted, rotation=45, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(size), actual)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    axis.set(xlabel="Predicted class", ylabel="Actual class")
    # Over the whole figure, which is wider than the cells.
    figure.suptitle(
        f"Trained on {variant_label(arm.trained_on)}, tested on {variant_label(arm.tested_on)}\n"
        f"{arm.subset} images, split {arm.split}, seed {seed}",
        fontsize=STYLE["axes.titlesize"],
    )
    return figure


def draw_accuracies(arms: list[Arm], plan: Plan) -> Figure:
    """The accuracy of every arm, a panel for each split: the mean over the seeds with its 95 % interval over sources.

    An arm of too few sources has no interval.
    Small dots are the single seeds; hollow diamonds are the study's accuracies.
    """
    names = list(dict.fromkeys((arm.trained_on, arm.tested_on) for arm in arms))
    labels = [wrapped(arm_label(*name), 30) for name in names]
    width = SINGLE_COLUMN if len(plan.splits) == 1 else DOUBLE_COLUMN
    figure = Figure(figsize=(width, 0.75 + 0.36 * len(names)))
    panels = figure.subplots(1, len(plan.splits), sharex=True, sharey=True, squeeze=False)[0]
    for panel, split in zip(panels, plan.splits, strict=True):
        for arm in (arm for arm in arms if arm.split == split):
            _draw_arm(panel, arm, names.index((arm.trained_on, arm.tested_on)), plan)
        panel.set_yticks(range(len(names)), labels)
        panel.set_ylim(len(names) - 0.5, -0.5)
        panel.tick_params(axis="y", length=0)
        panel.grid(axis="x", linewidth=0.4, color="#DDDDDD")
        panel.set_axisbelow(True)
        panel.set_xlabel("Accuracy")
        panel.xaxis.set_major_locator(MaxNLocator(5))
        if len(plan.splits) > 1:
            panel.set_title(f"split {split}", loc="left")
    low, high = panels[0].get_xlim()
    panels[0].set_xlim(max(low, -0.01), min(high, 1.01))
    keys = [
        Line2D([], [], color=colour, marker=mark, markersize=4, label=subset)
        for subset, (colour, mark, _) in SUBSET_MARKS.items()
    ]
    if any(_of_study(arm, plan) is not None for arm in arms):
        keys.append(Line2D([], [], linestyle="", label="study, validation", **STUDY_MARK))
    figure.legend(handles=keys, loc="outside upper center", ncols=len(keys), columnspacing=1.2, handlelength=1.6)
    return figure


def _draw_arm(panel: Axes, arm: Arm, row: int, plan: Plan) -> None:
    colour, mark, offset = SUBSET_MARKS[arm.subset]
    height = row + offset
    panel.plot(
        (arm.estimate.low, arm.estimate.high), (height, height), color=colour, linewidth=1.1, solid_capstyle="butt"
    )
    if len(arm.accuracies) > 1:
        seeds = [height + 0.11] * len(arm.accuracies)
        panel.plot(arm.accuracies, seeds, "o", color=colour, markersize=1.8, alpha=0.6, markeredgewidth=0)
    panel.plot(arm.accuracy, height, mark, color=colour, markersize=4)
    told = _of_study(arm, plan)
    if told is not None:
        panel.plot(told, height - 0.16, **STUDY_MARK)


def draw_differences(data: pd.DataFrame) -> Figure:
    """Differences in accuracy, of `wbcsr.stats.differences.differences`, with their 95 % intervals over sources.

    A block for each question; a hollow mark has no interval, for its sources are too few.
    """
    if data.empty:
        return draw_notice(NO_ENHANCED)
    labels: list[str] = []
    heights: list[int] = []
    height = 0
    titles = []
    for question, rows in data.groupby("question", sort=False):
        titles.append((height, QUESTIONS[question]))
        for _, row in rows.iterrows():
            height += 1
            heights.append(height)
            arm = arm_label(row["trained_on"], row["tested_on"])
            against = arm_label(row["against_trained_on"], row["against_tested_on"])
            labels.append(f"{arm} − {against}")
        height += 1
    figure = Figure(figsize=(DOUBLE_COLUMN, 0.5 + 0.2 * height))
    axis = figure.subplots()
    axis.axvline(0, color=GREY, linewidth=0.8)
    for place, (_, row) in zip(heights, data.iterrows(), strict=True):
        known = not math.isnan(row["low"])
        if known:
            axis.plot((100 * row["low"], 100 * row["high"]), (place, place), color=BLUE, linewidth=1.1)
        face = BLUE if known else "white"
        axis.plot(100 * row["difference"], place, "o", color=BLUE, markerfacecolor=face, markersize=4)
    for place, title in titles:
        # At the left edge, above the block's names.
        white = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"}
        axis.annotate(
            title,
            (0, place),
            (4, 0),
            ("axes fraction", "data"),
            "offset points",
            va="center",
            weight="bold",
            bbox=white,
        )
    axis.set_yticks(heights, labels)
    axis.set_ylim(height - 0.5, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", linewidth=0.4, color="#DDDDDD")
    axis.set_axisbelow(True)
    axis.set_xlabel("Difference in accuracy, percentage points")
    return figure


def _of_study(arm: Arm, plan: Plan) -> float | None:
    return published.accuracy(arm.split, arm.trained_on, arm.tested_on, arm.subset, plan.classes)
