"""Find the white cell of an image by its stain."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

# Lengths are fractions of the image's shorter side, areas are fractions of the image's area.
# Stained specks narrower than this are noise.
SPECK = 1 / 80
# Lobes of one nucleus and granules of one cell are closer to each other than this.
GAP = 1 / 20
# Width of the cytoplasm around the stained part of a cell.
CYTOPLASM = 1 / 20
# Platelets have a smaller stained area than this.
LEAST_STAIN = 1 / 200
# A second cell has at least this fraction of the stained area of the first. In photographs with one white cell,
# platelets and dirt reach 0.39; docs/usage.md has the measurement.
SECOND_CELL = 0.4


@dataclass(frozen=True)
class WhiteCell:
    """The white cell of an (H, W) image.

    `stain` (H, W) bool is its nucleus with nearby violet granules; `box` is the x, y, width and height of the stain in
    pixels. `score`, from 0 to 1, is 1 − a / b, where b is the area of the cell's stain and a the area of the next
    largest stain: 1 if there is no other stain, 0 if another one is as large.
    """

    stain: np.ndarray
    box: tuple[int, int, int, int]
    score: float

    @property
    def centre(self) -> tuple[int, int]:
        """The pixel x, y at the centre of the box."""
        x, y, width, height = self.box
        return x + width // 2, y + height // 2

    @property
    def is_alone(self) -> bool:
        """Whether no other stain in the image is large enough for a second white cell."""
        return self.score > 1 - SECOND_CELL

    @property
    def touches_border(self) -> bool:
        """Whether the stain is so close to the border of the image that part of the cell may be missing."""
        x, y, width, height = self.box
        margin = CYTOPLASM * min(self.stain.shape)
        right, bottom = self.stain.shape[1] - x - width, self.stain.shape[0] - y - height
        return min(x, y, right, bottom) < margin


def find_cell(pixels: np.ndarray) -> WhiteCell | None:
    """Return the white cell with the largest stain in an (H, W, 3) uint8 RGB image, or None if there is none.

    The stain colours the nuclei of white cells violet and leaves red cells pink. Violet is a hue from 230 to 330
    degrees, a saturation of at least 24 % and a value of at least 16 %, which excludes the black corners of augmented
    images.
    """
    violet = cv2.inRange(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV), (115, 60, 40), (165, 255, 255))
    side = min(violet.shape)
    violet = cv2.morphologyEx(violet, cv2.MORPH_OPEN, disc(SPECK * side))
    count, label = cv2.connectedComponents(cv2.dilate(violet, disc(GAP * side)))
    areas = np.bincount(label[violet > 0], minlength=count)
    first = int(areas.argmax())
    if areas[first] < LEAST_STAIN * violet.size:
        return None
    stain = (label == first) & (violet > 0)
    second = np.delete(areas, first).max(initial=0)
    x, y, width, height = cv2.boundingRect(stain.astype(np.uint8))
    return WhiteCell(stain, (x, y, width, height), float(1 - second / areas[first]))


def disc(diameter: float) -> np.ndarray:
    """Return a disc for morphological operations, (n, n) uint8; n is odd and at least 3 pixels."""
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (max(3, round(diameter) | 1),) * 2)
