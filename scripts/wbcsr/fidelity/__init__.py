"""Fidelity of upscaling: photographs are halved, upscaled again, and compared with the original photographs.

This module holds the names of methods, metrics and regions. It imports only light packages.
"""

from __future__ import annotations

from wbcsr.config import is_finetuned, parse_variant
from wbcsr.study.labels import variant_label

INTERPOLATIONS = ("bicubic", "lanczos")
METRICS = ("psnr", "ssim", "ciede2000", "drift", "delta_l", "delta_a", "delta_b", "consistency_psnr", "niqe", "lpips")
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


def method_label(method: str) -> str:
    """The label of a method within a sentence; results larger than ×2 are shrunk to ×2."""
    return variant_label(method) + (", shrunk to ×2" if parse_variant(method)[1] > 2 else "")


def method_heading(method: str) -> str:
    """The label of a method at the start of a row or column."""
    label = method_label(method)
    return label[0].upper() + label[1:] if method in (TRUTH, *INTERPOLATIONS) or is_finetuned(method) else label
