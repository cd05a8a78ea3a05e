"""Engines checked against the fp32 network, before anything relies on them."""

from __future__ import annotations

import math


def psnr(mean_square: float) -> float | None:
    """Peak signal-to-noise ratio in dB for 8-bit values; None where there is no noise."""
    return 10 * math.log10(255**2 / mean_square) if mean_square else None
