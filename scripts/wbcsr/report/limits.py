"""What the configuration says about the images: their origin, what they show, and the size that a classifier sees."""

from __future__ import annotations

from wbcsr.config import Config, is_synthetic, parse_variant
from wbcsr.study import published
from wbcsr.study.labels import variant_label


def is_published(config: Config) -> bool:
    """Whether the images seem to be the study's, judged by the names of the classes."""
    return not is_synthetic(config) and set(config["dataset"]["classes"]) == set(published.CLASSES)


def subject(config: Config) -> str:
    """What the images show, judged by the names of the classes."""
    known = {name.upper() for name in config["dataset"]["classes"]} <= set(published.CLASSES)
    return "white blood cells" if known else "images"


def resolution(enhanced: str | None, width: int, height: int, config: Config) -> str:
    """Whether the classifier can see the resolution that upscaling adds to images of `width` × `height` pixels."""
    if enhanced is None:
        return ""
    scale, sides = parse_variant(enhanced)[1], [config["train"]["input_size"], *config["train"]["extra_input_sizes"]]
    large = f"{scale * width}\u00a0×\u00a0{scale * height}"
    shrunk = (
        f"An upscaled image has {large} pixels ({variant_label(enhanced)}) and is shrunk to "
        f"{sides[0]}\u00a0×\u00a0{sides[0]} pixels for the classifier"
    )
    if max(sides) < min(width, height):
        return (
            f"{shrunk}. That is less than the {width}\u00a0×\u00a0{height} pixels of the original, and this design "
            "discards the resolution that super-resolution adds; it compares ways to resample the images."
        )
    if len(sides) > 1:
        others = " and ".join(f"{side}\u00a0×\u00a0{side}" for side in sides[1:])
        shrunk += f", in some arms to {others}"
    if max(sides) < scale * min(width, height):
        return f"{shrunk}; the classifier sees a part of the resolution that super-resolution adds."
    return f"An upscaled image has {large} pixels, and the classifier sees all of them."
