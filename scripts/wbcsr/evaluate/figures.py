"""The study's figures of our own runs, the confusion matrix of every run pair, and the accuracies of all arms.

Each figure is written as PNG (300 dots an inch) and SVG, as wide as one column (3.5 inches) or two
(7.2 inches) of a journal. The same input gives the same bytes.
"""

from __future__ import annotations

import itertools
import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from wbcsr.classify.history import best_epoch
from wbcsr.errors import InputError
from wbcsr.evaluate import arm_label, class_labels, confusion_name, study, variant_label
from wbcsr.evaluate.differences import COLUMNS, QUESTIONS, TEXTS
from wbcsr.evaluate.probabilities import GRID, Probabilities, matched_arms, mean_precision, mean_roc
from wbcsr.evaluate.scores import Arm, Plan, read_arms, run_of
from wbcsr.evaluate.table import read_table
from wbcsr.evaluate.tables import NO_ENHANCED
from wbcsr.files import read_csv, replacing
from wbcsr.imaging import read_image, to_rgb8

SINGLE_COLUMN, DOUBLE_COLUMN, PAGE_HEIGHT = 3.5, 7.2, 9.0
DOTS_PER_INCH = 300

# Height of a line of text and width of a character of the tick labels, in inches.
LINE, CHARACTER = 0.14, 0.063

# Images of each class that are looked at for the figures, and no more: reading them takes time.
CANDIDATES = 50

HISTORY_COLUMNS = ["epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy"]

# Okabe and Ito's colours, which all kinds of colour vision tell apart.
BLUE, VERMILLION, GREY = "#0072B2", "#D55E00", "#5F5F5F"

# Colour, mark and place beside the row's middle of each subset's accuracies.
SUBSET_MARKS = {"validation": (BLUE, "o", -0.16), "test": (VERMILLION, "s", 0.16)}
STUDY_MARK: dict[str, Any] = {"marker": "D", "color": GREY, "markerfacecolor": "none", "markersize": 4}

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 7.5,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.constrained_layout.use": True,
    "savefig.dpi": DOTS_PER_INCH,
    "text.parse_math": False,  # a class may have a $ in its name
    "svg.fonttype": "path",
    "svg.hashsalt": "wbcsr",
}


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
    """Write every figure that `wbcsr.evaluate.figure_names` lists, as .png and .svg, into `folder`.

    `splits` are the files <split>.csv, `sources` and `differences` the CSV files of that name, `predictions` and
    `histories` those of all runs, and `manifests` those of all images of all variants; the images lie beside them.
    """
    with house_style():
        for name, figure in _figures(splits, sources, predictions, differences, histories, manifests, plan):
            save_figure(figure, folder, name)


@contextmanager
def house_style() -> Iterator[None]:
    """Draw and save in the one style of all figures, whatever the user's own matplotlibrc says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def save_figure(figure: Figure, folder: str | Path, name: str) -> None:
    """Write `<name>.png` and `<name>.svg` into `folder`, without a date in them."""
    for suffix, metadata in ((".png", None), (".svg", {"Date": None})):
        with replacing(Path(folder) / f"{name}{suffix}") as beside:
            figure.savefig(beside, metadata=metadata)


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


def read_manifests(manifests: Iterable[str | Path]) -> pd.DataFrame:
    """All images of all variants, in order of name: the columns variant, partition, class, image and path.

    A manifest lies in `…/<variant>/<partition>/<class>/`, and the images beside it.
    """
    tables = []
    for manifest in map(Path, manifests):
        table = read_csv(manifest, ["image", "file"])
        variant, partition, name = manifest.parent.parts[-3:]
        paths = [manifest.parent / str(file) for file in table["file"]]
        tables.append(
            pd.DataFrame(
                {"variant": variant, "partition": partition, "class": name, "image": table["image"], "path": paths}
            )
        )
    return pd.concat(tables).sort_values(["variant", "image"], ignore_index=True)


@dataclass(frozen=True)
class Cell:
    """A white cell: the image it is in, that image's pixels (H, W, 3) uint8, and its box x, y, width, height."""

    image: str
    pixels: np.ndarray
    box: tuple[int, int, int, int]


def find_cell(pixels: np.ndarray) -> tuple[int, int, int, int] | None:
    """The box (x, y, width, height) of the largest violet blob of an (H, W, 3) uint8 RGB image, or None.

    The stain makes the nuclei of white cells violet and leaves red cells pink. Violet is a hue of 230 to
    330 degrees, a saturation of at least 24 % and a value of at least 16 % (which black corners lack);
    specks are opened away and lobes of one nucleus closed together before the largest blob is taken.
    """
    violet = cv2.inRange(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV), (115, 60, 40), (165, 255, 255))
    speck = max(3, round(min(violet.shape) / 80) | 1)
    for operation, size in ((cv2.MORPH_OPEN, speck), (cv2.MORPH_CLOSE, 3 * speck)):
        violet = cv2.morphologyEx(violet, operation, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))
    blobs, _, statistics, _ = cv2.connectedComponentsWithStats(violet)
    if blobs == 1:  # the background alone
        return None
    x, y, width, height, _ = statistics[1 + statistics[1:, cv2.CC_STAT_AREA].argmax()].tolist()
    return x, y, width, height


def choose_cells(images: pd.DataFrame, plan: Plan) -> dict[str, Cell]:
    """One white cell of each class: the first in order of name that lies whole and free in its image.

    Of the original images of the training partition the first `CANDIDATES` are looked at. Free means that
    a frame of a quarter of the cell's size around it neither leaves the image nor holds a black corner,
    which the augmentation of the data set leaves. Where no cell is so, the first image stands for the
    class, with the box of its violet blob, or of its whole where there is none.
    """
    originals = images[(images["variant"] == "original") & (images["partition"] == plan.partitions["train"])]
    return {name: _choose_cell(originals[originals["class"] == name], name) for name in plan.classes}


def _choose_cell(originals: pd.DataFrame, name: str) -> Cell:
    if originals.empty:
        raise InputError(f"class {name}: the manifests name no original image of it in the training partition")
    fallback = None
    for image, path in originals[["image", "path"]].head(CANDIDATES).itertuples(index=False):
        pixels = to_rgb8(read_image(path))
        box = find_cell(pixels)
        if box and _is_free(pixels, box):
            return Cell(image, pixels, box)
        fallback = fallback or Cell(image, pixels, box or (0, 0, pixels.shape[1], pixels.shape[0]))
    assert fallback is not None
    return fallback


def _is_free(pixels: np.ndarray, box: tuple[int, int, int, int]) -> bool:
    x, y, width, height = box
    frame = max(width, height) // 4
    left, top, right, bottom = x - frame, y - frame, x + width + frame, y + height + frame
    if left < 0 or top < 0 or right > pixels.shape[1] or bottom > pixels.shape[0]:
        return False
    return bool((pixels[top:bottom, left:right].max(axis=2) >= 20).all())


def draw_examples(cells: dict[str, Cell], plan: Plan) -> Figure:
    """Figure 2: one original image of each class."""
    columns = min(len(cells), 4)
    rows = math.ceil(len(cells) / columns)
    width = SINGLE_COLUMN if columns == 2 else DOUBLE_COLUMN * columns / 4
    labels = [wrapped(label, 26) for label in class_labels(plan.classes)]
    shape = max(cell.pixels.shape[0] / cell.pixels.shape[1] for cell in cells.values())
    panel = width / columns * shape + LINE * _lines(labels)
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
    headings = blocks * LINE * _lines(labels)
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


def field_side(cells: dict[str, Cell]) -> int:
    """Side in original pixels of a square a fifth wider than the largest of the cells, no larger than any image."""
    widest = round(1.2 * max(max(cell.box[2:]) for cell in cells.values()))
    return min(widest, *(side for cell in cells.values() for side in cell.pixels.shape[:2]))


def field_of_view(cell: Cell, field: int, images: pd.DataFrame, variant: str) -> np.ndarray:
    paths = images.loc[(images["variant"] == variant) & (images["image"] == cell.image), "path"]
    if paths.empty:
        raise InputError(f"{cell.image}: no manifest of the variant {variant} names it; run its upscaling again")
    pixels = to_rgb8(read_image(paths.iloc[0]))
    height, width = cell.pixels.shape[:2]
    x, y, box_width, box_height = cell.box
    left = min(max(x + box_width // 2 - field // 2, 0), width - field)
    top = min(max(y + box_height // 2 - field // 2, 0), height - field)
    scale = pixels.shape[1] / width
    first, last = (round(edge * scale) for edge in (left, left + field))
    upper, lower = (round(edge * scale) for edge in (top, top + field))
    return pixels[upper:lower, first:last]


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
    below = LINE * _lines(predicted) if upright else 0.7 * (width - 0.3 - side * size)
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
    """Differences in accuracy, of `wbcsr.evaluate.differences.differences`, with their 95 % intervals over sources.

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
    return study.accuracy(arm.split, arm.trained_on, arm.tested_on, arm.subset, plan.classes)


def draw_notice(text: str) -> Figure:
    """A figure that says in one line why there is nothing to draw."""
    figure = Figure(figsize=(SINGLE_COLUMN, 0.6))
    figure.text(0.5, 0.5, text, ha="center", va="center")
    return figure


def wrapped(label: str, width: int) -> str:
    """Break a label into lines of at most `width` characters, at spaces, hyphens and underscores if there are any."""
    return "\n".join(line.replace("_ ", "_") for line in textwrap.wrap(label.replace("_", "_ "), width))


def _lines(labels: list[str]) -> int:
    return max(label.count("\n") + 1 for label in labels)


# Colour, dashes and mark of each arm in turn, told apart in grey, too; the colours are Okabe and Ito's. Six dashes and
# seven colours give 42 lines before one comes again.
ARM_COLOURS = [BLUE, VERMILLION, "#009E73", "black", "#CC79A7", "#56B4E9", "#E69F00"]
ARM_DASHES: list[Any] = ["-", (0, (4, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)), (0, (2, 1)), (0, (6, 1, 1, 1, 1, 1))]
ARM_MARKS = ["o", "s", "^", "D", "v", "P", "X"]
CHANCE: dict[str, Any] = {"color": "#999999", "linewidth": 0.6, "zorder": 0}

# More classes than these are drawn as their mean: nobody reads fifty panels.
MOST_PANELS = 8

# With fewer predictions in a bin, their accuracy is hardly known.
FEW_PREDICTIONS = 10

RELIABILITY_CAPTION = (
    "How often predictions are right (above), and what share of all they are (below), by how sure the classifier is of "
    "them: 15 bins of its confidence, the predictions of all seeds together. On the diagonal a classifier is right as "
    f"often as it is sure. A hollow point stands for fewer than {FEW_PREDICTIONS} predictions; a bin without any has "
    "no point. ECE: expected calibration error, the mean distance of the bins from the diagonal, weighted by their "
    "predictions; mean over the seeds."
)
CURVES_CAPTION = (
    "Each class against the rest, by its probability: ROC curves with the area under them (AUC), and precision–recall "
    "curves with the average precision (AP). Curves and numbers are means over the seeds. Grey: what chance would give."
)


def draw_reliability(groups: Sequence[Probabilities]) -> Figure:
    """The reliability diagram of arms of one split and subset, and the histogram of their confidence below it.

    Accuracy in each bin of confidence, at the bin's mean confidence (Niculescu-Mizil and Caruana, ICML 2005; Guo et
    al., ICML 2017). `RELIABILITY_CAPTION` says the rest.
    """
    figure = Figure(figsize=(SINGLE_COLUMN, 3.9 + LINE * len(groups)))
    above, below = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    above.plot((0, 1), (0, 1), **CHANCE)
    keys = []
    for group, (line, mark) in _arm_lines(groups):
        bins = group.pooled.table
        many = bins[bins["images"] >= FEW_PREDICTIONS]
        few = bins[bins["images"].between(1, FEW_PREDICTIONS, inclusive="left")]
        points: dict[str, Any] = {"marker": mark, "markersize": 3.5}
        above.plot(many["confidence"], many["accuracy"], **line, **points)
        hollow = line | {"linestyle": "", "markerfacecolor": "white", "markeredgewidth": 0.7}
        above.plot(few["confidence"], few["accuracy"], **hollow, **points)
        below.stairs(bins["images"] / bins["images"].sum(), [*bins["low"], bins["high"].iloc[-1]], **line)
        label = f"{arm_label(group.trained_on, group.tested_on)}, ECE {group.calibration_error:.3f}"
        keys.append(Line2D([], [], **line, **points, label=label))
    above.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel="Accuracy")
    below.set(xlabel="Confidence", ylabel="Share")
    _add_arm_legend(figure, groups, keys, 1)
    return figure


def draw_curves(groups: Sequence[Probabilities]) -> Figure:
    """ROC and precision–recall curves of arms of one split and subset, a panel of each for every class.

    Of more than `MOST_PANELS` classes, the mean over those that have a curve. `CURVES_CAPTION` says the rest.
    """
    classes = groups[0].classes
    panels = {label: [name] for label, name in zip(class_labels(classes), classes, strict=True)}
    if len(classes) > MOST_PANELS:
        panels = {f"mean of {len(groups[0].curves)} classes": classes}
    columns = min(len(panels), 4)
    blocks = math.ceil(len(panels) / columns)
    # The two of a class stand one above the other, or side by side where they are all.
    rows, across = (2 * blocks, columns) if len(panels) > 1 else (1, 2)
    width = SINGLE_COLUMN if across == 2 else DOUBLE_COLUMN * across / 4
    side = width / across
    labels = [wrapped(label, 24) for label in panels]
    keys = [
        Line2D([], [], **line, label=arm_label(group.trained_on, group.tested_on))
        for group, (line, _) in _arm_lines(groups)
    ]
    legend_columns = _legend_columns(keys, width)
    legend = LINE * (1.5 + math.ceil(len(keys) / legend_columns))
    height = rows * (side + 0.1) + blocks * LINE * _lines(labels) + legend
    figure = Figure(figsize=(width, height))
    axes = figure.subplots(rows, across, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    pairs = axes.reshape(blocks, 2, columns).swapaxes(1, 2).reshape(-1, 2)
    for number, ((roc, precision), label, names) in enumerate(zip(pairs, labels, panels.values(), strict=False)):
        roc.set_title(label)
        _draw_class(roc, precision, groups, [name for name in names if name in groups[0].curves])
        if number % columns == 0:
            roc.set_ylabel("True positive rate")
            precision.set_ylabel("Precision")
    _add_arm_legend(figure, groups, keys, legend_columns)
    return figure


def _draw_class(roc: Axes, precision: Axes, groups: Sequence[Probabilities], names: list[str]) -> None:
    """The curves of a class, or the mean of several; a class without them says so."""
    for axis, quantity in ((roc, "False positive rate"), (precision, "Recall")):
        axis.set_axis_on()
        axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1), xlabel=quantity)
        axis.set_aspect("equal")
        if not names:
            axis.text(0.5, 0.5, "no curve", ha="center", va="center")
    if not names:
        return
    share = np.isin(groups[0].actual, names).mean() / len(names)
    roc.plot((0, 1), (0, 1), **CHANCE)
    precision.plot((0, 1), (share, share), **CHANCE)
    for group, (line, _) in _arm_lines(groups):
        curves = [curve for name in names for curve in group.curves[name]]
        auc, average_precision = group.areas.loc[names].mean()
        roc.plot([0, *GRID], [0, *mean_roc(curves)], **line, label=f"{auc:.3f}")
        precision.plot(GRID[1:], mean_precision(curves), **line, label=f"{average_precision:.3f}")
    box: dict[str, Any] = {"frameon": True, "framealpha": 1, "edgecolor": "none", "labelspacing": 0.2, "borderpad": 0.2}
    roc.legend(loc="lower right", title="AUC", **box)
    precision.legend(loc="lower left", title="AP", **box)


def _arm_lines(groups: Sequence[Probabilities]) -> Iterator[tuple[Probabilities, tuple[dict[str, Any], str]]]:
    """Each arm with the style of its line, and its mark."""
    styles = zip(*map(itertools.cycle, (ARM_COLOURS, ARM_DASHES, ARM_MARKS)), strict=False)
    for group, (colour, dashes, mark) in zip(groups, styles, strict=False):
        yield group, ({"color": colour, "linestyle": dashes, "linewidth": 1.1}, mark)


def _legend_columns(keys: list[Line2D], width: float) -> int:
    """How many columns of a legend fit into so many inches."""
    longest = max(len(str(key.get_label())) for key in keys)
    return max(1, int(width / (CHARACTER * longest + 0.5)))


def _add_arm_legend(figure: Figure, groups: Sequence[Probabilities], keys: list[Line2D], columns: int) -> None:
    """What the lines are, above all panels."""
    title = f"{groups[0].subset} images, split {groups[0].split}"
    figure.legend(handles=keys, title=title, loc="outside upper center", ncols=columns, handlelength=3)
