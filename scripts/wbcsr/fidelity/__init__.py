"""How true enlargements are: photographs halved, enlarged again, and held against what they were.

This module holds the names of methods, metrics and regions. It imports nothing heavy.
"""

from __future__ import annotations

INTERPOLATIONS = ("bicubic", "lanczos")
METRICS = ("psnr", "ssim", "ciede2000", "drift", "delta_l", "delta_a", "delta_b", "consistency_psnr", "niqe", "lpips")
# Not a method: the photograph itself, whose naturalness says what the methods' is to be read against.
TRUTH = "photograph"
REGIONS = {
    "whole": "Whole image",
    "cell": "White cell",
    "nucleus": "Its nucleus",
    "cytoplasm": "Around the nucleus",
    "outside": "Outside the cell",
    "background": "Empty background",
}


def network_method(scale: int) -> str:
    """The method of a network that enlarges by `scale`."""
    return f"realesrgan_x{scale}"


def method_label(method: str) -> str:
    """A method within a sentence; what enlarges by more than two is shrunk to two."""
    name, _, scale = method.partition("_x")
    if not scale:
        return {"lanczos": "Lanczos"}.get(name, name)
    return f"Real-ESRGAN ×{scale}" + ("" if scale == "2" else ", shrunk to ×2")


def method_heading(method: str) -> str:
    """A method at the head of a row or column."""
    label = method_label(method)
    return label[0].upper() + label[1:]
