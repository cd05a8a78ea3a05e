"""Quality checks that compare an engine with the fp32 network before it is used."""

from __future__ import annotations

import math


def psnr(mean_square: float) -> float | None:
    """Return the peak signal-to-noise ratio in dB for 8-bit values; None if the images are identical."""
    return 10 * math.log10(255**2 / mean_square) if mean_square else None
