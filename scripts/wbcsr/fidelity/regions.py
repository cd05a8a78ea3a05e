"""Where in a photograph the white cell lies, by its stain."""

from __future__ import annotations

import cv2
import numpy as np
from skimage.color import rgb2hed
from skimage.filters import threshold_otsu

# A lobe of the nucleus, and no platelet, is at least this share of the largest blob.
LOBE = 1 / 6
# Width of what is taken for cytoplasm around the nucleus, as a share of the photograph's height.
RING = 1 / 20


def find_regions(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Masks (H, W) bool of the regions of an (H, W, 3) uint8 RGB photograph, by the names of `wbcsr.fidelity.REGIONS`.

    The nucleus is where the blue dye is denser than Otsu's threshold: the first stain of Ruifrok and Johnston's
    colour deconvolution (2001; skimage's `rgb2hed`, whose haematoxylin is near the azure of blood stains), smoothed,
    without specks, platelets and holes. The cytoplasm is taken as the ring around it, and both together as the
    cell. Background is what lies outside and lets more green light through than Otsu's threshold, since red cells
    absorb it. A region may be empty.
    """
    height = pixels.shape[0]
    dye = cv2.GaussianBlur(rgb2hed(pixels)[:, :, 0].astype(np.float32), (0, 0), height / 160)
    nucleus = _without_platelets(_opened(dye > threshold_otsu(dye), round(height / 80)))
    distance = cv2.distanceTransform((~nucleus).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # Where there is no nucleus, all is infinitely far from it.
    cell = (distance <= RING * height) if nucleus.any() else nucleus
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
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1


def _opened(mask: np.ndarray, size: int) -> np.ndarray:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (max(3, size | 1),) * 2)
    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, kernel)


def _without_platelets(mask: np.ndarray) -> np.ndarray:
    """The blobs as large as lobes of one nucleus, with their holes filled."""
    blobs, labels, statistics, _ = cv2.connectedComponentsWithStats(mask)
    if blobs == 1:  # the background alone
        return np.zeros(mask.shape, bool)
    areas = statistics[1:, cv2.CC_STAT_AREA]
    lobes = np.isin(labels, 1 + np.flatnonzero(areas >= LOBE * areas.max())).astype(np.uint8)
    outlines, _ = cv2.findContours(lobes, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(lobes, outlines, -1, 1, cv2.FILLED).astype(bool)
