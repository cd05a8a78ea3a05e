"""Simulated data sets with a shift that all photographs of one training share, and the coverage of intervals.

Run as a command, this prints the table of docs/statistics.md: `python tests/unit/simulations.py [data sets]`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from wbcsr.stats import intervals
from wbcsr.stats.intervals import macro_weights
from wbcsr.stats.training import Noise, training_noise

FOLDS = 5
ACCURACIES = (0.9, 0.88)
# Photographs of each class in the published answer (docs/answer/cells), and about how many squares each of them has.
CELLS = {"sources": (78, 26, 16, 182), "images": (2, 7, 12, 1), "accuracies": (0.82, 0.81)}


class Trainings(NamedTuple):
    """Two arms, each (seeds, images), and the source, class and fold of each image (images,)."""

    a: np.ndarray
    b: np.ndarray
    sources: np.ndarray
    classes: np.ndarray
    folds: np.ndarray


def trained(
    random: np.random.Generator,
    sources: Sequence[int],
    images: Sequence[int],
    seeds: int,
    shift: float,
    accuracies: tuple[float, float],
) -> Trainings:
    """Simulate two arms with `sources` of each class with `images` each; `shift` is the SD of a training's accuracy.

    A latent number says how difficult each image is. 0.8 of its variance belongs to the image; the rest is drawn for
    each training and changes single predictions. Half of both parts is common to the images of a source. 0.9 of the
    image's part is common to both arms.
    """
    class_of = np.repeat(np.arange(len(sources)), sources)
    source_of = np.repeat(np.arange(len(class_of)), np.array(images)[class_of])

    def normal(*shape: int) -> np.ndarray:
        of_source = random.standard_normal((*shape, len(class_of)))[..., source_of]
        return (of_source + random.standard_normal((*shape, len(source_of)))) / 2**0.5

    folds = np.arange(len(class_of)) % FOLDS
    own = 0.9**0.5 * normal() + 0.1**0.5 * normal(2)
    latent = 0.8**0.5 * own[:, None] + 0.2**0.5 * normal(2, seeds)
    shifts = shift * random.standard_normal((2, seeds, FOLDS))[..., folds[source_of]]
    chance = np.clip(np.array(accuracies)[:, None, None] + shifts, 0.001, 0.999)
    a, b = latent < norm.ppf(chance)
    return Trainings(a, b, source_of, class_of[source_of], folds[source_of])


def noise_of(drawn: Trainings) -> Noise:
    weights = macro_weights(drawn.sources, drawn.classes)
    return training_noise([drawn.a, drawn.b], weights, drawn.sources, drawn.classes, drawn.folds)


def coverage(
    data_sets: int,
    images: Sequence[int],
    seeds: int,
    shift: float,
    sources: Sequence[int] = (305,),
    accuracies: tuple[float, float] = ACCURACIES,
) -> dict[str, float]:
    """The share of data sets whose 95 % interval covers the true difference, with and without the trainings' noise.

    The difference is that of the macro recalls over sources; with one class, that of the accuracies.
    """
    random = np.random.default_rng(0)
    truth = _truth(shift, accuracies)
    counts = {"with": 0, "without": 0}
    for number in range(data_sets):
        drawn = trained(random, sources, images, seeds, shift, accuracies)
        weights = macro_weights(drawn.sources, drawn.classes)
        design = intervals._design(drawn.a, drawn.sources, drawn.classes, weights)
        values = drawn.a.mean(axis=0) - drawn.b.mean(axis=0)
        differing = np.count_nonzero(np.bincount(drawn.sources, values).round(9))
        for name, noise in (("with", noise_of(drawn)), ("without", intervals.NO_NOISE)):
            found = intervals._difference(values, differing, design, number, noise)
            counts[name] += found.low <= truth <= found.high
    return {name: count / data_sets for name, count in counts.items()}


def _truth(shift: float, accuracies: tuple[float, float]) -> float:
    """The expected difference, including the effect of clipping the shifts."""
    shifts = shift * norm.ppf((np.arange(10_000) + 0.5) / 10_000)
    one, other = (np.clip(accuracy + shifts, 0.001, 0.999).mean() for accuracy in accuracies)
    return float(one - other)


def main(data_sets: int) -> None:
    print("| shift of each training | images of a photograph | seeds | photographs alone | with trainings |")
    print("| --- | --- | --- | --- | --- |")
    for shift in (0.0, 0.03):
        for images in (1, 8):
            for seeds in (1, 3):
                found = coverage(data_sets, [images], seeds, shift)
                _print(shift, str(images), seeds, found)
    for shift in (0.0, 0.01, 0.03):
        _print(shift, "published answer", 3, coverage(data_sets, seeds=3, shift=shift, **CELLS))


def _print(shift: float, images: str, seeds: int, found: dict[str, float]) -> None:
    shares = f"{100 * found['without']:.1f} % | {100 * found['with']:.1f} %"
    print(f"| {100 * shift:.0f} points | {images} | {seeds} | {shares} |", flush=True)


if __name__ == "__main__":
    intervals.RESAMPLES = 200
    main(int(sys.argv[1]) if sys.argv[1:] else 1000)
