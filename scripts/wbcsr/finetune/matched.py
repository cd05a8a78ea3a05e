"""The degradation that the archive itself applied to its photographs: shrink, augment by an affine warp, save as JPEG.

Which kernels and which JPEG quality it used is estimated from pairs of an image and its photograph; see `estimate`.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from wbcsr.finetune import RATIO

Pixels = npt.NDArray[np.uint8]
Matrix = npt.NDArray[np.float64]


def _by_pillow(kernel: Image.Resampling, pixels: Pixels, width: int, height: int) -> Pixels:
    return np.asarray(Image.fromarray(pixels).resize((width, height), kernel))


def _by_opencv(kernel: int, pixels: Pixels, width: int, height: int) -> Pixels:
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=kernel), np.uint8)


# Pillow widens its kernels when it shrinks, which prevents aliasing; OpenCV does not, and its cubic kernel aliases.
# At half the size, OpenCV's bilinear and area kernels are the same as the box.
SHRINKING: dict[str, Callable[[Pixels, int, int], Pixels]] = {
    "nearest": partial(_by_opencv, cv2.INTER_NEAREST),
    "box": partial(_by_pillow, Image.Resampling.BOX),
    "bilinear": partial(_by_pillow, Image.Resampling.BILINEAR),
    "bicubic": partial(_by_pillow, Image.Resampling.BICUBIC),
    "lanczos": partial(_by_pillow, Image.Resampling.LANCZOS),
    "bicubic_aliased": partial(_by_opencv, cv2.INTER_CUBIC),
}
WARPING = {"nearest": cv2.INTER_NEAREST, "bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}


@dataclass(frozen=True)
class Matched:
    """Kernels of shrinking (`SHRINKING`) and of the affine warp (`WARPING`), and the JPEG quality.

    Without a warp (None), pixels are only shrunk. The quality is 1 to 100, or None if the images are not JPEG files or
    have tables of their own.
    """

    shrink: str
    warp: str | None
    quality: int | None

    def shrunk(self, photograph: Pixels) -> Pixels:
        """A photograph (H, W, 3) at half its size; the sides must be even."""
        height, width = photograph.shape[:2]
        return SHRINKING[self.shrink](photograph, width // RATIO, height // RATIO)

    def warped(self, small: Pixels, frame: Matrix, width: int, height: int) -> Pixels:
        """`small` in the frame of an image; `frame` (2, 3) takes the image's pixels to those of `small`."""
        flags = WARPING[str(self.warp)] | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpAffine(small, frame, (width, height), flags=flags), np.uint8)

    def compressed(self, pixels: Pixels) -> Pixels:
        """`pixels` after JPEG compression with half the resolution of colour, as Pillow saves by default."""
        return jpeg(pixels, self.quality)

    def degraded(self, photograph: Pixels) -> Pixels:
        """A whole photograph as its image would be without a warp."""
        return self.compressed(self.shrunk(photograph))

    def draw(
        self,
        photograph: Pixels,
        small: Pixels,
        side: int,
        generator: np.random.Generator,
        aim: tuple[int, int] | None = None,
    ) -> tuple[Pixels, Pixels]:
        """A random pair: a degraded square of `side` pixels, and the same square of the photograph at twice the side.

        `small` is `shrunk(photograph)`. The square lies within the photograph; its centre is random, or as near as
        possible to the pixel `aim` (row, column) of the photograph. It has a random direction, or, without a warp, one
        of the four that need no interpolation, and is mirrored in half of the cases.
        """
        height, width = small.shape[:2]
        at = aim and (aim[0] // RATIO, aim[1] // RATIO)
        if self.warp is None:
            top, left = (place(generator, length, side, at and at[axis]) for axis, length in enumerate((height, width)))
            turns, mirror = int(generator.integers(4)), int(generator.choice((-1, 1)))
            low, high = (
                np.rot90(pixels[scale * top :, scale * left :][: scale * side, : scale * side], turns)[:, ::mirror]
                for scale, pixels in ((1, small), (RATIO, photograph))
            )
            return self.compressed(low), high
        angle, mirrored = generator.uniform(0, 2 * np.pi), generator.choice((-1.0, 1.0))
        axes = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * (mirrored, 1.0)
        # Half of the square's bounding box in the photograph.
        reach = np.abs(axes).sum(axis=1) * (side - 1) / 2
        least, most = reach, np.array((width - 1, height - 1)) - reach
        centre = np.clip(at[::-1], least, most) if at else generator.uniform(least, most)
        middle = (side - 1) / 2
        frame = np.column_stack([axes, centre - axes @ (middle, middle)])
        low = self.compressed(self.warped(small, frame, side, side))
        return low, warp_photograph(photograph, frame, side)


def place(generator: np.random.Generator, length: int, side: int, centre: int | None = None) -> int:
    """Where a stretch of `side` pixels begins in `length` pixels: at random, or with this centre as far as it fits."""
    if centre is None:
        return int(generator.integers(length - side + 1))
    return min(max(centre - side // 2, 0), length - side)


# The degradation of the fidelity measurement (`wbcsr.fidelity.metrics.halve`).
HALVED = Matched("bicubic", None, None)


def warp_photograph(photograph: Pixels, frame: Matrix, side: int) -> Pixels:
    """The square of `frame` (see `Matched.warped`) from the photograph, at twice the side, by Lanczos' kernel."""
    flags = cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP
    size, whole = (RATIO * side, RATIO * side), enlarged(frame)
    return np.asarray(cv2.warpAffine(photograph, whole, size, flags=flags, borderMode=cv2.BORDER_REFLECT), np.uint8)


def enlarged(frame: Matrix) -> Matrix:
    """A frame between two pictures as one between the same pictures at twice their size."""
    # Pixels are squares: a pixel p of the large picture is the place (p - shift) / RATIO of the small one.
    shift, axes = (RATIO - 1) / 2, frame[:, :2]
    return np.column_stack([axes, RATIO * frame[:, 2] + shift - axes @ (shift, shift)])


def jpeg(pixels: Pixels, quality: int | None) -> Pixels:
    """(H, W, 3) uint8 RGB after JPEG compression by Pillow at this quality; unchanged if the quality is None."""
    if quality is None:
        return pixels
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def jpeg_quality(content: bytes) -> int | None:
    """The quality at which libjpeg writes the quantisation tables of a JPEG; None for other tables or formats."""
    if not content.startswith(b"\xff\xd8"):
        return None
    with Image.open(io.BytesIO(content)) as image:
        tables = image.quantization  # type: ignore[attr-defined]
    return next((quality for quality in range(100, 0, -1) if _tables(quality) == tables), None)


@cache
def _tables(quality: int) -> dict[int, list[int]]:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as image:
        return dict(image.quantization)  # type: ignore[attr-defined]
