"""Fidelity of upscaling: photographs are halved, upscaled again, and compared with the original photographs.

This module holds the names of methods, metrics and regions. It imports only light packages.
"""

from __future__ import annotations

INTERPOLATIONS = ("bicubic", "lanczos")
METRICS = ("psnr", "ssim", "ciede2000", "drift", "delta_l", "delta_a", "delta_b", "consistency_psnr", "niqe")
# Not a method but the photograph itself; its naturalness is the reference for that of the methods.
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
    """The name of the method that upscales with a network of this `scale`."""
    return f"realesrgan_x{scale}"


def method_label(method: str) -> str:
    """The label of a method within a sentence; results larger than ×2 are shrunk to ×2."""
    name, _, scale = method.partition("_x")
    if not scale:
        return {"lanczos": "Lanczos"}.get(name, name)
    return f"Real-ESRGAN ×{scale}" + ("" if scale == "2" else ", shrunk to ×2")


def method_heading(method: str) -> str:
    """The label of a method at the start of a row or column."""
    label = method_label(method)
    return label[0].upper() + label[1:]
