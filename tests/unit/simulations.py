"""Simulated data sets with a shift that all photographs of one training share, and the coverage of intervals.

Run as a command, this prints the table of docs/methods.md: `python tests/unit/simulations.py [data sets]`.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from wbcsr.stats import intervals
from wbcsr.stats.training import Noise, training_noise

FOLDS = 5
ACCURACIES = (0.9, 0.88)


class Trainings(NamedTuple):
    """Two arms, each (seeds, images), and the source, class and fold of each image (images,)."""

    a: np.ndarray
    b: np.ndarray
    sources: np.ndarray
    classes: np.ndarray
    folds: np.ndarray


def trained(
    random: np.random.Generator, sources: int, images: int, seeds: int, shift: float, accuracies: tuple[float, float]
) -> Trainings:
    """Simulate two arms with `sources` of `images` each, in `FOLDS`; `shift` is the SD of a training's accuracy.

    A latent number says how difficult each image is. 0.8 of its variance belongs to the image; the rest is drawn for
    each training and changes single predictions. Half of both parts is common to the images of a source. 0.9 of the
    image's part is common to both arms.
    """
    source_of = np.repeat(np.arange(sources), images)

    def normal(*shape: int) -> np.ndarray:
        of_source = random.standard_normal((*shape, sources))[..., source_of]
        return (of_source + random.standard_normal((*shape, len(source_of)))) / 2**0.5

    folds = np.arange(sources) % FOLDS
    own = 0.9**0.5 * normal() + 0.1**0.5 * normal(2)
    latent = 0.8**0.5 * own[:, None] + 0.2**0.5 * normal(2, seeds)
    shifts = shift * random.standard_normal((2, seeds, FOLDS))[..., folds[source_of]]
    chance = np.clip(np.array(accuracies)[:, None, None] + shifts, 0.001, 0.999)
    a, b = latent < norm.ppf(chance)
    return Trainings(a, b, source_of, np.zeros(len(source_of), int), folds[source_of])


def noise_of(drawn: Trainings) -> Noise:
    weights = np.ones(len(drawn.sources))
    return training_noise([drawn.a, drawn.b], weights, drawn.sources, drawn.classes, drawn.folds)


def coverage(data_sets: int, images: int, seeds: int, shift: float, sources: int = 305) -> dict[str, float]:
    """The share of data sets whose 95 % interval covers the true difference, with and without the trainings' noise."""
    random = np.random.default_rng(0)
    truth = _truth(shift)
    counts = {"with": 0, "without": 0}
    for number in range(data_sets):
        drawn = trained(random, sources, images, seeds, shift, ACCURACIES)
        design = intervals._design(drawn.a, drawn.sources, drawn.classes)
        values = drawn.a.mean(axis=0) - drawn.b.mean(axis=0)
        differing = np.count_nonzero(np.bincount(drawn.sources, values).round(9))
        for name, noise in (("with", noise_of(drawn)), ("without", intervals.NO_NOISE)):
            found = intervals._difference(values, differing, design, number, noise)
            counts[name] += found.low <= truth <= found.high
    return {name: count / data_sets for name, count in counts.items()}


def _truth(shift: float) -> float:
    """The expected difference, including the effect of clipping the shifts."""
    shifts = shift * norm.ppf((np.arange(10_000) + 0.5) / 10_000)
    one, other = (np.clip(accuracy + shifts, 0.001, 0.999).mean() for accuracy in ACCURACIES)
    return float(one - other)


def main(data_sets: int) -> None:
    print("| shift of each training | images of a photograph | seeds | photographs alone | with trainings |")
    print("| --- | --- | --- | --- | --- |")
    for shift in (0.0, 0.03):
        for images in (1, 8):
            for seeds in (1, 3):
                found = coverage(data_sets, images, seeds, shift)
                shares = f"{100 * found['without']:.1f} % | {100 * found['with']:.1f} %"
                print(f"| {100 * shift:.0f} points | {images} | {seeds} | {shares} |", flush=True)


if __name__ == "__main__":
    intervals.RESAMPLES = 200
    main(int(sys.argv[1]) if sys.argv[1:] else 1000)
