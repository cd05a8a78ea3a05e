"""Estimate how an archive made its images from its photographs: kernels of shrinking and warping, JPEG quality."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from wbcsr import imaging
from wbcsr.checks import psnr
from wbcsr.dataset.sources import FRAME_COLUMNS
from wbcsr.errors import InputError
from wbcsr.files import read_csv, write_csv, write_json
from wbcsr.finetune import RATIO
from wbcsr.finetune.matched import SHRINKING, WARPING, Matched, Matrix, Pixels, enlarged, jpeg, jpeg_quality
from wbcsr.finetune.photographs import read_photographs
from wbcsr.text import counted

log = logging.getLogger(__name__)

# Pixels at the edge of the warped photograph that are not compared, because they mix with the black beyond it.
EDGE = 4
# Brighter values of an image may be clipped.
SATURATED = 250
# Number of images that are compared with their photographs.
PAIRS = 16


@dataclass(frozen=True)
class Pair:
    """An image and its photograph, both (H, W, 3) uint8; `frame` takes the image's pixels to the photograph's.

    `name` is that of the image, `quality` the JPEG quality of its file, or None.
    """

    name: str
    image: Pixels
    photograph: Pixels
    frame: Matrix
    quality: int | None


@dataclass(frozen=True)
class Candidate:
    """How well a degradation reproduces the images: PSNR in dB, from the mean square over all pixels of all pairs.

    `first` is what was done first: shrink or warp.
    """

    shrink: str
    warp: str
    first: str
    psnr: float


@dataclass(frozen=True)
class Estimate:
    """The degradation that reproduces the images best, with its PSNR in dB (None if it reproduces them exactly).

    `pairs` is the number of pairs that were aligned. `candidates` are all that were compared, the best first.
    """

    degradation: Matched
    psnr: float | None
    pairs: int
    candidates: list[Candidate]


def estimate(pairs: Sequence[Pair]) -> Estimate:
    """Find the degradation that reproduces the images best.

    The frame of each pair, which was found by features, is refined by maximising the correlation with the image (ECC;
    Evangelidis and Psarakis 2008). Each candidate is applied to the photograph, its values are multiplied by the factor
    that fits the image best (the augmentation brightened each image), it is saved with the JPEG quality of the image,
    and is compared with the image. The quality is the most common one of the images. Only candidates that shrink first
    can become the degradation: if one that warps first is better, the log says so.

    A pair that cannot be aligned is left out with a warning. Raises InputError if no pair remains.
    """
    aligned = []
    for pair in pairs:
        try:
            # A kernel may move the picture: the nearest pixel is a quarter of a pixel from the middle.
            aligned.append((pair, {shrink: refine(pair, shrink) for shrink in SHRINKING}))
        except cv2.error as error:
            log.warning(
                "%s cannot be aligned with its photograph (%s); it is left out of the estimate",
                pair.name, error.err,
            )  # fmt: skip
    if not aligned:
        raise InputError(
            "fine-tuning: no image can be aligned with its photograph, so the degradation cannot be estimated; set "
            "finetune.degradation to real-esrgan"
        )
    qualities = [pair.quality for pair, _ in aligned]
    quality = max(dict.fromkeys(qualities), key=qualities.count)
    candidates = []
    for first, shrink, warp in itertools.product(("shrink", "warp"), SHRINKING, WARPING):
        tried = Matched(shrink, warp, quality)
        errors = np.concatenate([_errors(tried, pair, frames[shrink], first) for pair, frames in aligned])
        candidates.append(Candidate(shrink, warp, first, psnr(float((errors**2).mean())) or float("inf")))
    candidates.sort(key=lambda each: -each.psnr)
    best = next(each for each in candidates if each.first == "shrink")
    if candidates[0].first != "shrink":
        log.warning("the images look as if they had been warped before they were shrunk; this order is not imitated")
    return Estimate(
        Matched(best.shrink, best.warp, quality),
        round(best.psnr, 2) if math.isfinite(best.psnr) else None,
        len(aligned),
        candidates,
    )


def refine(pair: Pair, shrink: str) -> Matrix:
    """The frame from the image's pixels to those of the photograph shrunk by a kernel, refined (see `estimate`)."""
    small = Matched(shrink, "bilinear", None).shrunk(pair.photograph)
    shift = (RATIO - 1) / 2
    start = pair.frame / RATIO - np.array([[0, 0, shift / RATIO], [0, 0, shift / RATIO]])
    grey = [cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) for pixels in (pair.image, small)]
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-6)
    _, found = cv2.findTransformECC(
        grey[0], grey[1], start.astype(np.float32), cv2.MOTION_AFFINE, criteria, 255 * _without_edge(small), 5
    )
    return np.asarray(found, np.float64)


def _inside(frame: Matrix, small: Pixels, image: Pixels) -> npt.NDArray[np.bool_]:
    """Where the image shows the photograph, apart from its edge."""
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(_without_edge(small), frame, image.shape[1::-1], flags=flags) > 0


def _without_edge(small: Pixels) -> Pixels:
    """(H, W) uint8: 0 at the edge, 1 elsewhere."""
    there = np.zeros(small.shape[:2], np.uint8)
    there[EDGE:-EDGE, EDGE:-EDGE] = 1
    return there


def _errors(tried: Matched, pair: Pair, frame: Matrix, first: str) -> npt.NDArray[np.float64]:
    height, width = pair.image.shape[:2]
    if first == "shrink":
        made = tried.warped(tried.shrunk(pair.photograph), frame, width, height)
    else:
        made = tried.shrunk(tried.warped(pair.photograph, enlarged(frame), RATIO * width, RATIO * height))
    known = _inside(frame, tried.shrunk(pair.photograph), pair.image) & (pair.image.max(axis=2) < SATURATED)
    shown = made[known].astype(np.float64)
    image = pair.image[known].astype(np.float64)
    factor = (shown * image).sum() / (shown * shown).sum()
    brightened = np.rint(factor * made).clip(0, 255).astype(np.uint8)
    return (jpeg(brightened, pair.quality)[known].astype(np.float64) - image).ravel()


def write_estimate(
    archive: Path,
    dataset: Mapping[str, Any],
    sources_csv: Path,
    manifests: Sequence[Path],
    output: Path,
    candidates_csv: Path,
) -> dict[str, Any]:
    """Estimate from `PAIRS` images chosen at random; write the degradation as JSON and the candidates as CSV.

    `manifests` are those of the whole images, `sources_csv` has their frames (`FRAME_COLUMNS`). Returns the facts for
    the provenance. Raises InputError if no image has a known photograph.
    """
    table = read_csv(sources_csv, ["image", *FRAME_COLUMNS])
    table = table[table["photograph"] != ""]
    if table.empty:
        raise InputError(
            f"{sources_csv}: names no photograph, and the degradation `matched` is estimated from photographs and "
            "their images; set dataset.photographs, or finetune.degradation to real-esrgan"
        )
    chosen = table.sample(min(PAIRS, len(table)), random_state=0)
    listed = {
        row.image: (manifest, row.file, row.sha256)
        for manifest in manifests
        for row in read_csv(manifest, ["image", "file", "sha256"]).itertuples()
    }
    photographs = read_photographs(archive, dataset, list(chosen["photograph"]))
    pairs = []
    for row, photograph in zip(chosen.itertuples(), photographs, strict=True):
        manifest, file, digest = listed[row.image]
        path = manifest.parent / file
        frame = np.array([getattr(row, name) for name in FRAME_COLUMNS[1:]], float).reshape(2, 3)
        image = imaging.to_rgb8(imaging.read_listed(path, digest, manifest))
        pairs.append(Pair(row.image, image, photograph, frame, jpeg_quality(path.read_bytes())))
    estimated = estimate(pairs)
    found = estimated.degradation
    write_csv(candidates_csv, pd.DataFrame(map(asdict, estimated.candidates)))
    write_json(output, {"degradation": asdict(found), "pairs": estimated.pairs, "psnr": estimated.psnr})
    log.info(
        "from %s: shrunk with the kernel %s, warped with the kernel %s, JPEG quality %s",
        counted(estimated.pairs, "image"), found.shrink, found.warp, found.quality or "unknown",
    )  # fmt: skip
    return asdict(found)
