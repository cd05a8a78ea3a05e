"""Where in a photograph the white cell lies, by its stain."""

from __future__ import annotations

import cv2
import numpy as np
from skimage.color import rgb2hed
from skimage.filters import threshold_otsu

from wbcsr.cells.finder import CYTOPLASM, SPECK, disc, find_cell


def find_regions(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Masks (H, W) bool of the regions of an (H, W, 3) uint8 RGB photograph, by the names of `wbcsr.fidelity.REGIONS`.

    The nucleus is that of the white cell (see `find_cell`), where the blue dye is denser than Otsu's threshold: the
    first stain of Ruifrok and Johnston's colour deconvolution (2001; skimage's `rgb2hed`, whose haematoxylin is near
    the azure of blood stains), smoothed, without specks and holes. The cytoplasm is taken as the ring around it, and
    both together as the cell. Background is what lies outside and lets more green light through than Otsu's threshold,
    since red cells absorb it. A region may be empty.
    """
    side = min(pixels.shape[:2])
    nucleus = _nucleus(pixels)
    distance = cv2.distanceTransform((~nucleus).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # Where there is no nucleus, all is infinitely far from it.
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
    """The box (x, y, width, height) around a mask; of the whole image where the mask is empty."""
    if not mask.any():
        return 0, 0, mask.shape[1], mask.shape[0]
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return x, y, width, height


def _nucleus(pixels: np.ndarray) -> np.ndarray:
    """The dense dye of the white cell, with its holes filled; nothing where no cell is found."""
    side = min(pixels.shape[:2])
    found = find_cell(pixels)
    if found is None:
        return np.zeros(pixels.shape[:2], bool)
    dye = cv2.GaussianBlur(rgb2hed(pixels)[:, :, 0].astype(np.float32), (0, 0), side / 160)
    dense = cv2.morphologyEx((dye > threshold_otsu(dye)).astype(np.uint8), cv2.MORPH_OPEN, disc(SPECK * side))
    _, label = cv2.connectedComponents(dense)
    # Blobs without violet are other things that the dye colours.
    lobes = (np.isin(label, np.unique(label[found.stain])) & (dense > 0)).astype(np.uint8)
    outlines, _ = cv2.findContours(lobes, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(lobes, outlines, -1, 1, cv2.FILLED).astype(bool)
