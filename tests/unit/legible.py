"""A check that the text of a figure is legible."""

from __future__ import annotations

import itertools

from matplotlib.figure import Figure
from matplotlib.text import Text

LONG_NAMES = [f"immature granulocyte, stage_{number} of 8" for number in range(8)]


def assert_legible(figure: Figure) -> None:
    """Require that every text lies inside the figure, and that no two horizontal texts overlap."""
    figure.draw_without_rendering()
    # Matplotlib keeps tick labels beyond the axis limits, or of an axis that is off, but does not draw them.
    undrawn = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        undrawn |= {
            tick.label1 for tick in axis.get_major_ticks() if not axis.axes.axison or not low <= tick.get_loc() <= high
        }
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    texts = [text for text in texts if text not in undrawn]
    boxes = {text: text.get_window_extent() for text in texts}
    width, height = figure.get_size_inches() * figure.dpi
    for text, box in boxes.items():
        inside = box.x0 > -1 and box.y0 > -1 and box.x1 < width + 1 and box.y1 < height + 1
        assert inside, f"{text.get_text()!r} leaves the figure"
    level = [text for text in texts if text.get_rotation() in (0, 90)]
    for one, other in itertools.combinations(level, 2):
        assert not boxes[one].overlaps(boxes[other]), f"{one.get_text()!r} overlaps {other.get_text()!r}"
