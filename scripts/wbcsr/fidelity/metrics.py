"""How near an enlarged image is to the photograph, region by region.

Of perceptual metrics, LPIPS compares an image with the truth; its weights are downloaded. NIQE, whose weights come with
a package (basicsr), looks at the enlarged image alone: it says how natural an image looks, not how true it is.
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

# Standard deviation, and radius in pixels, of the window of Wang et al. (2004).
SSIM_SIGMA, SSIM_RADIUS = 1.5, 5
# NIQE's blocks have 96 pixels a side, and fewer than four of them have no covariance to speak of.
NIQE_LEAST_SIDE = 192


def resize(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Bring (H, W, 3) uint8 to another size by Pillow's bicubic kernel (a = -0.5), widened where it shrinks.

    So shrinking is antialiased as in MATLAB's `imresize`, by which super-resolution is usually judged.
    """
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


def halve(pixels: np.ndarray) -> np.ndarray:
    """Half the width and height, antialiased; see `resize`. (H, W, 3) uint8 with even sides."""
    return resize(pixels, pixels.shape[1] // 2, pixels.shape[0] // 2)


def psnr_of(image: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio in dB over all channels of the pixels in `mask` (H, W), of images (H, W, 3) uint8.

    Infinite where both are equal, NaN where the mask is empty.
    """
    squares = (image.astype(np.float64) - truth) ** 2
    inside = squares if mask is None else squares[mask]
    if inside.size == 0:
        return float("nan")
    decibels = psnr(float(inside.mean()))
    return float("inf") if decibels is None else decibels


def ssim_map(image: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Structural similarity (Wang et al. 2004) at each pixel, (H, W), mean over the channels; NaN at the edge.

    Where the window leaves the image nothing is said, so the mean over the rest is what skimage gives.
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
    """Natural image quality evaluator (Mittal et al. 2013, basicsr's) of (H, W, 3) uint8 RGB; lower is more natural.

    NaN where a side has fewer than `NIQE_LEAST_SIDE` pixels.
    """
    if min(image.shape[:2]) < NIQE_LEAST_SIDE:
        return float("nan")
    # First, as basicsr cannot be imported without it.
    import wbcsr.vision  # noqa: F401, I001
    from basicsr.metrics.niqe import calculate_niqe

    # A flat block has no statistics, and is left out there.
    with np.errstate(all="ignore"):
        return float(calculate_niqe(image[:, :, ::-1], crop_border=0))


def lpips(network: Lpips, image: np.ndarray, truth: np.ndarray) -> float:
    """The perceptual distance (Zhang et al. 2018) of two images (H, W, 3) uint8 RGB; 0 where they are equal.

    NaN where a side has fewer pixels than `network` needs.
    """
    if min(image.shape[:2]) < network.least_side:
        return float("nan")
    pair = (torch.tensor(pixels).permute(2, 0, 1)[None] / 255 for pixels in (image, truth))
    with torch.inference_mode():
        return float(network(*pair))


def measure(
    image: np.ndarray, truth: np.ndarray, small: np.ndarray, regions: Mapping[str, np.ndarray]
) -> dict[str, dict[str, float]]:
    """The `METRICS` of each region of an enlarged image; all images are (H, W, 3) uint8 RGB, `small` half as large.

    `psnr` in dB; `ssim`; `ciede2000`, the mean over pixels of their colour difference (Sharma et al. 2005); `drift`,
    the same difference between the mean colours, which detail does not enter; `delta_l`, `delta_a` and `delta_b`,
    the mean of image minus truth in CIELAB (D65): lighter, redder and yellower where positive. For the whole image also
    `consistency_psnr`, of the image halved again to `small`, and `niqe`. NaN where a region is empty, and for `lpips`,
    which is a function of its own.
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
    found["whole"] |= {"consistency_psnr": psnr_of(halve(image), small), "niqe": niqe(image)}
    return found
