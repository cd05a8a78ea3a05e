"""What limits every number of the page, and the licences: sentences that follow from the configuration."""

from __future__ import annotations

from wbcsr.config import Config, is_synthetic, parse_variant
from wbcsr.study import published
from wbcsr.study.labels import variant_label


def is_published(config: Config) -> bool:
    """Whether the images are the study's, as far as the names of their classes tell."""
    return not is_synthetic(config) and set(config["dataset"]["classes"]) == set(published.CLASSES)


def subject(config: Config) -> str:
    """What the images show, as far as the names of the classes tell."""
    known = {name.upper() for name in config["dataset"]["classes"]} <= set(published.CLASSES)
    return "white blood cells" if known else "images"


def resolution(enhanced: str | None, width: int, height: int, config: Config) -> str:
    """Whether the classifier can see the resolution that upscaling adds; `width` and `height` are of the originals."""
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
            f"{shrunk}. That is less than the {width}\u00a0×\u00a0{height} pixels of the original, so this design "
            "discards the resolution that super-resolution adds; what is compared is how the images were resampled."
        )
    if len(sides) > 1:
        others = " and ".join(f"{side}\u00a0×\u00a0{side}" for side in sides[1:])
        shrunk += f", in some arms to {others}"
    if max(sides) < scale * min(width, height):
        return f"{shrunk}; the classifier sees a part of the resolution that super-resolution adds."
    return f"An upscaled image has {large} pixels, and the classifier sees all of them."


def limitations(enhanced: str | None, config: Config) -> list[str]:
    """What limits every number of the page, besides the cautions of the answer."""
    dataset, train = config["dataset"], config["train"]
    found = []
    if is_synthetic(config):
        found.append(
            "The cells are drawn by a program. They show that the workflow runs from end to end; nothing about real "
            "cells follows from them."
        )
    if enhanced and enhanced.startswith("realesrgan"):
        found.append(
            "Real-ESRGAN was trained on everyday photographs. What it adds to a cell is plausible, not observed: a "
            "super-resolved image must not be read as if it came from a better microscope."
        )
    if train["init"] == "random":
        found.append(
            "The classifier started from random weights; with few images, accuracy is usually higher with ImageNet’s."
        )
    if dataset["images"]:
        found.append(f"Only the images that {dataset['images']} lists were used.")
    if dataset["limit_per_class"]:
        found.append(f"Only the first {dataset['limit_per_class']} images of each partition and class were used.")
    found.append(
        "One classifier with one set of training settings and one data set were tested; others may answer differently."
    )
    return found


def licences(enhanced: str | None, config: Config) -> list[str]:
    """The licences of the images and the weights, as far as the configuration tells."""
    if is_synthetic(config):
        found = ["Images: drawn by this project."]
    elif is_published(config):
        found = [f"Images: Kaggle, “Blood Cell Images” ({config['dataset']['kaggle']}), MIT."]
    else:
        found = [f"Images: your own, from {config['dataset']['archive']}; their licence is not known."]
    if enhanced and enhanced.startswith("realesrgan"):
        own = config["weights"]["source"] == "path"
        known = "Real-ESRGAN (Xintao Wang and others), BSD-3-Clause."
        found.append(f"Weights: {'your own file; its licence is not known.' if own else known}")
    return found
