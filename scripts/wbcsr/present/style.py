"""The one style of all figures: sizes of a journal's columns, colours, saving, and labels that wrap.

Each figure is written as PNG (300 dots an inch) and SVG, as wide as one column (3.5 inches) or two (7.2 inches). The
same input gives the same bytes.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from wbcsr.files import replacing

SINGLE_COLUMN, DOUBLE_COLUMN, PAGE_HEIGHT = 3.5, 7.2, 9.0
DOTS_PER_INCH = 300

# Height of a line of text and width of a character of the tick labels, in inches.
LINE, CHARACTER = 0.14, 0.063

# Okabe and Ito's colours, which all kinds of colour vision tell apart.
BLUE, VERMILLION, GREY = "#0072B2", "#D55E00", "#5F5F5F"
GREEN, PURPLE, ORANGE, SKY = "#009E73", "#CC79A7", "#E69F00", "#56B4E9"

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


def draw_notice(text: str) -> Figure:
    """A figure that says in one line why there is nothing to draw."""
    figure = Figure(figsize=(SINGLE_COLUMN, 0.6))
    figure.text(0.5, 0.5, text, ha="center", va="center")
    return figure


def wrapped(label: str, width: int) -> str:
    """Break a label into lines of at most `width` characters, at spaces, hyphens and underscores if there are any."""
    return "\n".join(line.replace("_ ", "_") for line in textwrap.wrap(label.replace("_", "_ "), width))


def line_count(labels: list[str]) -> int:
    return max(label.count("\n") + 1 for label in labels)
