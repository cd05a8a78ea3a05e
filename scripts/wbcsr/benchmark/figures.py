"""Figures of the benchmarks: medians as points, with a line from minimum to maximum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wbcsr.present.style import BLUE, DOUBLE_COLUMN, GREY, LINE, SINGLE_COLUMN, draw_notice

NOTHING = "Nothing could be measured here; the table gives the reasons."
HEIGHT = 2.0


class Panel(Protocol):
    """A part of a figure; `height` is its preferred height in inches."""

    @property
    def height(self) -> float: ...

    def draw(self, axis: Axes) -> None: ...


def draw(panels: Sequence[Panel]) -> Figure:
    """Draw the panels side by side, or a notice if there are none."""
    if not panels:
        return draw_notice(NOTHING)
    width = SINGLE_COLUMN if len(panels) == 1 else DOUBLE_COLUMN
    figure = Figure(figsize=(width, max(panel.height for panel in panels)))
    for axis, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        panel.draw(axis)
    return figure


@dataclass(frozen=True)
class Rates:
    """A panel with one row per label and an axis that starts at zero; rows that begin with "ours" are highlighted.

    `remarks` are printed on the right, under `remarks_title`.
    """

    title: str
    labels: Sequence[str]
    middle: Sequence[float]
    least: Sequence[float]
    most: Sequence[float]
    remarks: Sequence[str] = ()
    remarks_title: str = ""
    xlabel: str = "Images per second"

    @classmethod
    def of(
        cls,
        title: str,
        labels: Sequence[str],
        rows: pd.DataFrame,
        remarks: Sequence[str] = (),
        remarks_title: str = "",
    ) -> Rates:
        """Create the panel from measured rows: images per second in the median, slowest and fastest run."""
        slowest, fastest = (list(rows["images"] / rows[name]) for name in ("max_seconds", "min_seconds"))
        return cls(title, labels, list(rows["images_per_second"]), slowest, fastest, remarks, remarks_title)

    @property
    def height(self) -> float:
        return max(HEIGHT if len(self.labels) > 5 else 1.4, LINE * (1.35 * len(self.labels) + 4))

    def draw(self, axis: Axes) -> None:
        ours = [label.startswith("ours") for label in self.labels]
        for place, is_ours in enumerate(ours):
            colour = BLUE if is_ours or not any(ours) else GREY
            axis.plot([self.least[place], self.most[place]], [place, place], color=colour, linewidth=1.6)
            axis.plot(self.middle[place], place, "o", color=colour, markersize=3.5)
        small: dict[str, Any] = {"fontsize": "small", "color": GREY}
        for place, remark in enumerate(self.remarks):
            axis.annotate(remark, (1.02, place), xycoords=("axes fraction", "data"), va="center", **small)
        axis.annotate(self.remarks_title, (1.02, 1.02), xycoords="axes fraction", va="bottom", **small)
        axis.set_yticks(range(len(self.labels)), labels=list(self.labels))
        axis.set_ylim(len(self.labels) - 0.5, -0.5)
        axis.set_xlim(0, 1.08 * max(self.most))
        axis.grid(axis="x", color="#E5E5E5", linewidth=0.5)
        axis.set_axisbelow(True)
        axis.set(title=self.title, xlabel=self.xlabel)


@dataclass(frozen=True)
class Curve:
    """A quantity as a function of a number: medians with minimum and maximum; linear from zero, or logarithmic."""

    xlabel: str
    ylabel: str
    x: Sequence[float]
    middle: Sequence[float]
    least: Sequence[float]
    most: Sequence[float]
    logarithmic: bool = False

    height = HEIGHT

    @classmethod
    def of(cls, xlabel: str, ylabel: str, rows: pd.DataFrame, x: str, column: str, logarithmic: bool = False) -> Curve:
        """Create the panel from measured rows; if `column` is median_seconds, minimum and maximum are drawn too."""
        ends = ("min_seconds", "max_seconds") if column == "median_seconds" else (column, column)
        least, most = (list(rows[name]) for name in ends)
        return cls(xlabel, ylabel, list(rows[x]), list(rows[column]), least, most, logarithmic)

    def draw(self, axis: Axes) -> None:
        axis.vlines(self.x, self.least, self.most, color=BLUE, linewidth=1.6)
        axis.plot(self.x, self.middle, "o-", color=BLUE, linewidth=0.8, markersize=3.5)
        axis.set(xlabel=self.xlabel, ylabel=self.ylabel)
        if self.logarithmic:
            axis.set(xscale="log", yscale="log")
        else:
            axis.set_xlim(0, 1.08 * max(self.x))
            axis.set_ylim(0, 1.1 * max(self.most))
