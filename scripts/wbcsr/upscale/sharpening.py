"""Find the sharpening that gives bicubic images as much detail as Real-ESRGAN's, without labels and without results."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from wbcsr import imaging
from wbcsr.errors import InputError
from wbcsr.files import read_csv, write_json
from wbcsr.upscale.interpolation import Interpolation
from wbcsr.upscale.shard import MANIFEST_COLUMNS, spread

log = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]

IMAGES = 64
# Rings of the spectrum between the lowest frequencies, which are the colours of whole cells, and the band's end.
RINGS = 24
LOWEST = 0.1
# The mask's standard deviation in pixels of the original, and its amount.
SIGMAS = (0.3, 4.0)
AMOUNTS = (0.0, 20.0)


class Fit(NamedTuple):
    """An unsharp mask: `sigma` in pixels, `amount`, and the root mean square of the remaining difference in dB."""

    sigma: float
    amount: float
    residual_db: float


def radial_power(pixels: np.ndarray, edges: Floats) -> Floats:
    """The mean power of an image's luminance in each ring of frequencies, (len(edges) − 1,).

    `edges` are in cycles per pixel. The mean is subtracted and the border is faded out (Hann window), so that the
    jump between opposite borders does not count as detail. NaN for a ring without a frequency.
    """
    grey = cv2.cvtColor(imaging.to_rgb8(pixels), cv2.COLOR_RGB2GRAY).astype(float)
    window = np.outer(*(np.hanning(side) for side in grey.shape))
    power = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
    radius = np.hypot(*np.meshgrid(*(np.fft.fftfreq(side) for side in grey.shape), indexing="ij"))
    ring = np.digitize(radius.ravel(), edges) - 1
    inside = (ring >= 0) & (ring < len(edges) - 1)
    sums, counts = (np.bincount(ring[inside], of, len(edges) - 1) for of in (power.ravel()[inside], None))
    with np.errstate(invalid="ignore"):
        return np.asarray(sums / counts)


def gain(frequencies: Floats, sigma: float, amount: float) -> Floats:
    """The factor by which an unsharp mask multiplies the amplitude of each frequency (cycles per pixel)."""
    return 1 + amount * (1 - np.exp(-2 * (np.pi * sigma * frequencies) ** 2))


def fit_mask(frequencies: Floats, before: Floats, wanted: Floats, scale: int) -> Fit:
    """The unsharp mask that brings the power `before` nearest to `wanted`: least squares of the logarithms."""
    ratio = np.log(wanted / before)

    def lacking(parameters: Floats) -> Floats:
        return 2 * np.log(gain(frequencies, *parameters)) - ratio

    bounds = [(SIGMAS[0] * scale, AMOUNTS[0]), (SIGMAS[1] * scale, AMOUNTS[1])]
    starts = [(sigma * scale, amount) for sigma in (0.5, 1.0, 2.0) for amount in (0.5, 3.0)]
    best = min((least_squares(lacking, start, bounds=bounds) for start in starts), key=lambda found: found.cost)
    residual = float(np.sqrt(np.mean(best.fun**2)) * 10 / np.log(10))
    return Fit(float(best.x[0]), float(best.x[1]), residual)


def match_sharpening(
    originals: Sequence[Path], upscaled: Sequence[Path], scale: int, output: Path, images: int = IMAGES
) -> dict[str, float | int]:
    """Fit the mask of `Sharpening` to Real-ESRGAN's images, and write it to `output` (JSON).

    `originals` and `upscaled` are the manifests of the same partition. The first `images` of `spread` are used: they
    are of all classes, and each run uses the same ones. The mean powers of both kinds are compared up to the
    highest frequency of the originals, 0.5/`scale` cycles per pixel. Above it, bicubic images have nothing to sharpen.

    Writes and returns sigma (pixels of the enlarged image), amount, residual_db and the number of images; the file also
    has their names. Raises InputError if an image is missing or is not the one that its manifest lists.
    """
    theirs = {row.image: (path, row) for path in upscaled for row in read_csv(path, MANIFEST_COLUMNS).itertuples()}
    edges = np.linspace(LOWEST, 1, RINGS + 1) * 0.5 / scale
    bicubic, names = Interpolation("bicubic", scale), []
    powers = []
    for row in spread(originals).head(images).itertuples():
        if row.image not in theirs:
            raise InputError(f"{upscaled[0]}: lacks {row.image}; delete the manifest and run again")
        manifest, their = theirs[row.image]
        original = imaging.read_listed(row.folder / row.file, row.sha256, row.folder / "manifest.csv")
        detailed = imaging.read_listed(manifest.with_name(their.file), their.sha256, manifest)
        powers.append([radial_power(pixels, edges) for pixels in (*bicubic([original]), detailed)])
        names.append(row.image)
    before, wanted = np.array(powers).mean(axis=0)
    known = np.isfinite(before) & np.isfinite(wanted) & (before > 0) & (wanted > 0)
    centres = (edges[1:] + edges[:-1]) / 2
    found = fit_mask(centres[known], before[known], wanted[known], scale)
    if found.amount < 0.01:
        log.warning("realesrgan_x%d is not sharper than bicubic_x%d, so sharpened_x%d equals the latter", *[scale] * 3)
    log.info("sigma %.2f px, amount %.2f; remaining difference %.1f dB", *found)
    result = {**found._asdict(), "images": len(names)}
    write_json(output, {**result, "scale": scale, "used": names})
    return result
