"""The official releases of Real-ESRGAN's weights (github.com/xinntao/Real-ESRGAN/releases, BSD-3-Clause)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wbcsr.config import parse_variant


@dataclass(frozen=True)
class Release:
    """One released file: upscaling factor of its network, URL, size in bytes, SHA-256."""

    scale: int
    url: str
    size: int
    sha256: str


_ADDRESS = "https://github.com/xinntao/Real-ESRGAN/releases/download"
RELEASES = {
    "RealESRGAN_x4plus": Release(
        scale=4,
        url=f"{_ADDRESS}/v0.1.0/RealESRGAN_x4plus.pth",
        size=67_040_989,
        sha256="4fa0d38905f75ac06eb49a7951b426670021be3018265fd191d2125df9d682f1",
    ),
    "RealESRGAN_x2plus": Release(
        scale=2,
        url=f"{_ADDRESS}/v0.2.1/RealESRGAN_x2plus.pth",
        size=67_061_725,
        sha256="49fafd45f8fd7aa8d31ab2a22d14d91b536c34494a5cfe31eb5d89c2fa266abb",
    ),
}


def model_for_scale(scale: int, source: str) -> str:
    """Return the model that upscales by `scale`, for the given source of weights.

    x2plus is only available as a release (source `download`). Any other scale uses x4plus and resizes its output, as
    Real-ESRGAN's own program does.
    """
    if source == "path":
        return "custom"
    return "RealESRGAN_x2plus" if source == "download" and scale == 2 else "RealESRGAN_x4plus"


def shrunk_from(models: Mapping[str, str]) -> dict[str, str]:
    """Return the variants whose images can be made by shrinking another variant's → that variant.

    `models` gives the model of each variant. The other variant has the same model at the model's own scale, which must
    be larger.
    """
    scales = {variant: parse_variant(variant)[1] for variant in models}
    own = {
        model: variant
        for variant, model in models.items()
        if model in RELEASES and RELEASES[model].scale == scales[variant]
    }
    return {
        variant: own[model]
        for variant, model in models.items()
        if model in own and scales[variant] < scales[own[model]]
    }
