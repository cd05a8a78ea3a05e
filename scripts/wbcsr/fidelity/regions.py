"""The region of the white cell in a photograph, found by its stain."""

from __future__ import annotations

import cv2
import numpy as np
from skimage.color import rgb2hed
from skimage.filters import threshold_otsu

from wbcsr.cells.finder import CYTOPLASM, SPECK, disc, find_cell


def find_regions(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Masks (H, W) bool of the regions of an (H, W, 3) uint8 RGB photograph, by the names of `wbcsr.fidelity.REGIONS`.

    The nucleus belongs to the white cell (see `find_cell`): the area in which the blue dye is denser than Otsu's
    threshold, smoothed, with specks removed and holes filled. The dye is the first stain of Ruifrok and Johnston's
    colour deconvolution (2001; skimage's `rgb2hed`, whose haematoxylin is similar to the azure of blood stains). The
    cytoplasm is approximated by a ring around the nucleus, and both together are the cell. Background is the area
    outside the cell that transmits more green light than Otsu's threshold, because red cells absorb green light. A
    region may be empty.
    """
    side = min(pixels.shape[:2])
    nucleus = _nucleus(pixels)
    distance = cv2.distanceTransform((~nucleus).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # Without a nucleus, every pixel would be infinitely far from it.
    cell = (distance <= CYTOPLASM * side) if nucleus.any() else nucleus
    green = pixels[:, :, 1]
    return {
        "whole": np.ones_like(nucleus),
        "cell": cell,
        "nucleus": nucleus,
        "cytoplasm": cell & ~nucleus,
        "outside": ~cell,
        "background": ~cell & (green > threshold_otsu(green)),
    }


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """The bounding box (x, y, width, height) of a mask; that of the whole image if the mask is empty."""
    if not mask.any():
        return 0, 0, mask.shape[1], mask.shape[0]
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return x, y, width, height


def _nucleus(pixels: np.ndarray) -> np.ndarray:
    """The dense dye of the white cell, with its holes filled; empty if no cell is found."""
    side = min(pixels.shape[:2])
    found = find_cell(pixels)
    if found is None:
        return np.zeros(pixels.shape[:2], bool)
    dye = cv2.GaussianBlur(rgb2hed(pixels)[:, :, 0].astype(np.float32), (0, 0), side / 160)
    dense = cv2.morphologyEx((dye > threshold_otsu(dye)).astype(np.uint8), cv2.MORPH_OPEN, disc(SPECK * side))
    _, label = cv2.connectedComponents(dense)
    # Blobs without violet are other objects that take up the dye.
    lobes = (np.isin(label, np.unique(label[found.stain])) & (dense > 0)).astype(np.uint8)
    outlines, _ = cv2.findContours(lobes, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(lobes, outlines, -1, 1, cv2.FILLED).astype(bool)
