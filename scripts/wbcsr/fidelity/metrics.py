"""Similarity of an upscaled image to the photograph, by region.

Two metrics are perceptual. LPIPS compares an image with the photograph; its weights are downloaded. NIQE, whose weights
come with a package (basicsr), uses only the upscaled image: it measures how natural an image looks, not how similar it
is.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import structural_similarity

from wbcsr.checks import psnr
from wbcsr.fidelity import METRICS
from wbcsr.weights.lpips import Lpips

# Standard deviation and radius in pixels of the Gaussian window of Wang et al. (2004).
SSIM_SIGMA, SSIM_RADIUS = 1.5, 5
# NIQE's blocks have a side of 96 pixels, and fewer than four blocks give no useful covariance.
NIQE_LEAST_SIDE = 192


def resize(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize (H, W, 3) uint8 with Pillow's bicubic kernel (a = -0.5), which is widened when it shrinks.

    Shrinking is therefore antialiased, as in MATLAB's `imresize`, which evaluations of super-resolution usually use.
    """
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


def halve(pixels: np.ndarray) -> np.ndarray:
    """Halve width and height, antialiased; see `resize`. (H, W, 3) uint8 with even sides."""
    return resize(pixels, pixels.shape[1] // 2, pixels.shape[0] // 2)


def psnr_of(image: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio in dB over all channels of the pixels in `mask` (H, W), for images (H, W, 3) uint8.

    Infinite if both images are equal, NaN if the mask is empty.
    """
    squares = (image.astype(np.float64) - truth) ** 2
    inside = squares if mask is None else squares[mask]
    if inside.size == 0:
        return float("nan")
    decibels = psnr(float(inside.mean()))
    return float("inf") if decibels is None else decibels


def ssim_map(image: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Structural similarity (Wang et al. 2004) at each pixel, (H, W), mean over the channels; NaN at the edge.

    It is NaN where the window extends beyond the image, so the mean over the other pixels equals skimage's value.
    """
    _, similarity = structural_similarity(
        image, truth, data_range=255, channel_axis=2, gaussian_weights=True, sigma=SSIM_SIGMA,
        use_sample_covariance=False, full=True,
    )  # fmt: skip
    result = np.full(image.shape[:2], np.nan)
    inner = (slice(SSIM_RADIUS, -SSIM_RADIUS),) * 2
    result[inner] = similarity.mean(axis=2)[inner]
    return result


def niqe(image: np.ndarray) -> float:
    """Natural image quality evaluator (Mittal et al. 2013; basicsr) of (H, W, 3) uint8 RGB; lower is more natural.

    NaN if a side has fewer than `NIQE_LEAST_SIDE` pixels.
    """
    if min(image.shape[:2]) < NIQE_LEAST_SIDE:
        return float("nan")
    # This import must come first: basicsr cannot be imported without it.
    import wbcsr.vision  # noqa: F401, I001
    from basicsr.metrics.niqe import calculate_niqe

    # A block of uniform colour has no statistics; basicsr ignores it.
    with np.errstate(all="ignore"):
        return float(calculate_niqe(image[:, :, ::-1], crop_border=0))


def lpips(network: Lpips, image: np.ndarray, truth: np.ndarray) -> float:
    """The perceptual distance (Zhang et al. 2018) between two images (H, W, 3) uint8 RGB; 0 for equal images.

    NaN if a side has fewer pixels than `network.least_side`.
    """
    if min(image.shape[:2]) < network.least_side:
        return float("nan")
    pair = (torch.tensor(pixels).permute(2, 0, 1)[None] / 255 for pixels in (image, truth))
    with torch.inference_mode():
        return float(network(*pair))


def measure(
    image: np.ndarray, truth: np.ndarray, small: np.ndarray, regions: Mapping[str, np.ndarray]
) -> dict[str, dict[str, float]]:
    """The `METRICS` of each region of an upscaled image; all are (H, W, 3) uint8 RGB, `small` with half the sides.

    See `compare`. The whole image also has `consistency_psnr`, the PSNR of the image, halved again, to `small`; and
    `niqe`. `lpips` is NaN here; the function of this name measures it.
    """
    found = compare(image, truth, regions)
    found["whole"] |= {"consistency_psnr": psnr_of(halve(image), small), "niqe": niqe(image)}
    return found


def compare(image: np.ndarray, truth: np.ndarray, regions: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """The `METRICS` of each region that need only the image and the truth, both (H, W, 3) uint8 RGB; others are NaN.

    `psnr` is in dB. `ciede2000` is the mean over pixels of the colour difference to the truth (Sharma et al. 2005).
    `drift` is the same difference between the mean colours, which detail does not influence. `delta_l`, `delta_a` and
    `delta_b` are the mean of image minus truth in CIELAB (D65): positive values mean lighter, redder and yellower. NaN
    if a region is empty.
    """
    similarity = ssim_map(image, truth)
    lab, true_lab = rgb2lab(image), rgb2lab(truth)
    difference = deltaE_ciede2000(true_lab, lab)
    found = {}
    for name, mask in regions.items():
        found[name] = dict.fromkeys(METRICS, float("nan"))
        if mask.any():
            mean, true_mean = lab[mask].mean(axis=0), true_lab[mask].mean(axis=0)
            known = similarity[mask & ~np.isnan(similarity)]
            found[name] |= {
                "psnr": psnr_of(image, truth, mask),
                "ssim": float(known.mean()) if known.size else float("nan"),
                "ciede2000": float(difference[mask].mean()),
                "drift": float(deltaE_ciede2000(true_mean, mean)),
                **{f"delta_{axis}": float(d) for axis, d in zip("lab", mean - true_mean, strict=True)},
            }
    return found
