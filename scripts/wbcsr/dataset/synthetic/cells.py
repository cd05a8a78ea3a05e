"""Red and white blood cells and platelets, as they appear with Wright's stain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.spatial import KDTree

from wbcsr.dataset.synthetic.geometry import (
    Array,
    Frame,
    Plane,
    Random,
    coverage,
    ellipse,
    joined,
    outline,
    strand,
)


def _stain(red: float, green: float, blue: float) -> Array:
    return np.array([red, green, blue], np.float32)


# Optical density (-log10 of the transmitted fraction) of each substance with Wright's stain.
HAEMOGLOBIN = _stain(0.048, 0.146, 0.130)
CHROMATIN_THIN = _stain(0.175, 0.320, -0.035)  # violet, where the smear is thin and cells lie flat
CHROMATIN_THICK = _stain(0.280, 0.375, 0.005)  # blue-black, where it is thick and cells stay round
LILAC = _stain(0.055, 0.115, 0.030)
BASOPHILIC = _stain(0.160, 0.135, 0.010)
GREY_BLUE = _stain(0.088, 0.085, 0.020)
EOSINOPHILIC = _stain(0.015, 0.182, 0.162)
PLATELET = _stain(0.130, 0.160, 0.000)
RED_RADIUS = 3.8  # µm, average radius of a dried red cell


# ---- nuclei -----------------------------------------------------------------------------------------------------


def segmented_nucleus(plane: Plane, radius: float, rng: Random) -> Array:
    """Return the signed distance of three to five lobes along an arc, joined by thin strands."""
    lobes = int(rng.choice([3, 4, 5], p=[0.4, 0.4, 0.2]))
    return _lobes(plane, radius, lobes, area=0.36, span=rng.uniform(3.6, 4.9), rng=rng)


def bilobed_nucleus(plane: Plane, radius: float, rng: Random) -> Array:
    """Return the signed distance of two (rarely three) thick lobes, off centre and joined by a strand."""
    lobes = int(rng.choice([2, 3], p=[0.85, 0.15]))
    return _lobes(plane, radius, lobes, area=0.36, span=rng.uniform(1.9, 2.4) * (lobes - 1) ** 0.5, rng=rng)


def _lobes(plane: Plane, radius: float, lobes: int, *, area: float, span: float, rng: Random) -> Array:
    """Return lobes that together fill the fraction `area` of the cell's disc, spread over `span` radians."""
    plane = plane.turned(rng.uniform(0, 2 * np.pi)).warped(0.035 * radius, 0.5 * radius, rng)
    size = radius * np.sqrt(area / lobes)
    distance_out = min(0.97 * radius - 0.95 * size, 0.52 * radius)
    angles = span * (np.arange(lobes) / (lobes - 1) - 0.5) + rng.normal(0, 0.10, lobes)
    centres = [rng.uniform(0.85, 1.0) * distance_out * np.exp(1j * angle) for angle in angles]
    shape = np.full_like(plane.x, -1e3)
    for centre, angle in zip(centres, angles, strict=True):
        long = rng.uniform(1.0, 1.3)
        tilted = plane.moved(centre.real, centre.imag).turned(angle + np.pi / 2 + rng.normal(0, 0.5))
        shape = joined(shape, ellipse(tilted, size * long, size * rng.uniform(0.88, 1.05) / long), 0.06 * radius)
    for start, end in pairwise(centres):
        shape = joined(shape, strand(plane, start, end, radius * rng.uniform(0.05, 0.11)), 0.12 * radius)
    return shape


def round_nucleus(plane: Plane, radius: float, rng: Random) -> Array:
    """Return the signed distance of a nearly round nucleus that leaves a thin rim, wider on one side."""
    plane = plane.turned(rng.uniform(0, 2 * np.pi)).moved(rng.uniform(0.0, 0.07) * radius, 0)
    size = radius * rng.uniform(0.82, 0.92)
    return outline(plane.warped(0.02 * radius, 0.6 * radius, rng), size, 0.02, rng)


def kidney_nucleus(plane: Plane, radius: float, rng: Random) -> Array:
    """Return the signed distance of a thick arc, between a kidney and a horseshoe."""
    plane = plane.turned(rng.uniform(0, 2 * np.pi)).moved(-0.10 * radius, 0)
    plane = plane.warped(0.06 * radius, 0.45 * radius, rng)
    bend, half_span = radius * rng.uniform(0.36, 0.44), rng.uniform(1.0, 1.9)
    angle = np.arctan2(plane.y, plane.x)
    nearest = np.clip(angle, -half_span, half_span)
    width = radius * rng.uniform(0.38, 0.45)
    return np.asarray(width - np.hypot(plane.x - bend * np.cos(nearest), plane.y - bend * np.sin(nearest)), np.float32)


# ---- the four kinds ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Morphology:
    """The appearance of one kind of white cell."""

    description: str
    diameter: tuple[float, float]  # µm, in the thick and in the thin part of a smear
    roughness: float  # of the outline, as a fraction of the radius
    nucleus: Callable[[Plane, float, Random], Array]
    chromatin: float  # density of the nucleus; 1 is a neutrophil's
    clump: float  # µm, width of a clump of chromatin
    contrast: float  # between clumps and gaps
    lacy: bool  # fine strands instead of clumps
    cytoplasm: Array  # optical density
    mottle: float  # contrast of the cytoplasm's fine texture
    coarse_granules: bool  # eosinophilic granules fill the cytoplasm
    vacuoles: tuple[int, int]  # minimum and maximum number


KINDS = {
    "NEUTROPHIL": Morphology(
        description="Three to five lobes on thin strands; pale lilac cytoplasm dusted with fine granules.",
        diameter=(10.2, 14.4),
        roughness=0.018,
        nucleus=segmented_nucleus,
        chromatin=1.0,
        clump=0.9,
        contrast=0.26,
        lacy=False,
        cytoplasm=LILAC,
        mottle=0.16,
        coarse_granules=False,
        vacuoles=(0, 0),
    ),
    "EOSINOPHIL": Morphology(
        description="Two plump lobes; cytoplasm packed with coarse, orange-red, refractile granules.",
        diameter=(10.6, 15.0),
        roughness=0.022,
        nucleus=bilobed_nucleus,
        chromatin=0.88,
        clump=1.0,
        contrast=0.22,
        lacy=False,
        cytoplasm=0.8 * LILAC,
        mottle=0.10,
        coarse_granules=True,
        vacuoles=(0, 0),
    ),
    "LYMPHOCYTE": Morphology(
        description="The small one: a round, dense nucleus fills it up to a thin rim of blue cytoplasm.",
        diameter=(8.6, 11.4),
        roughness=0.035,
        nucleus=round_nucleus,
        chromatin=0.92,
        clump=1.4,
        contrast=0.18,
        lacy=False,
        cytoplasm=BASOPHILIC,
        mottle=0.08,
        coarse_granules=False,
        vacuoles=(0, 0),
    ),
    "MONOCYTE": Morphology(
        description="The largest: a kidney of lacy chromatin in grey-blue, vacuolated cytoplasm of uneven outline.",
        diameter=(13.4, 17.8),
        roughness=0.075,
        nucleus=kidney_nucleus,
        chromatin=0.74,
        clump=0.7,
        contrast=0.17,
        lacy=True,
        cytoplasm=GREY_BLUE,
        mottle=0.16,
        coarse_granules=False,
        vacuoles=(2, 6),
    ),
}


@dataclass(frozen=True)
class Conditions:
    """The conditions of one photograph: smear, stain and focus."""

    thickness: float  # 0 thin, cells lie flat and apart, to 1 thick, cells round, dark and stacked
    azure: float  # strength of the blue stain
    eosin: float  # strength of the red stain
    defocus: float  # µm, standard deviation of the blur

    @classmethod
    def drawn(cls, rng: Random) -> Conditions:
        """Draw random conditions that vary about as much as those of the study's photographs."""
        return cls(
            thickness=float(rng.beta(1.0, 2.0)),
            azure=rng.uniform(0.75, 1.1),
            eosin=rng.uniform(0.75, 1.05),
            defocus=0.13 + rng.exponential(0.06),
        )


# ---- structures -------------------------------------------------------------------------------------------------


def red_cell(plane: Plane, radius: float, pallor: float, rng: Random) -> Array:
    """Return the haemoglobin of one red cell; 1 is the thickest part.

    `pallor` (0 to 1) mixes a flat disc with the biconcave shape of Evans and Fung, "Improved measurements of the
    erythrocyte geometry", Microvasc. Res. 4 (1972), whose dimple is deepened as by drying.
    """
    stretch = 1 + min(rng.exponential(0.10), 0.35)
    turned = plane.turned(rng.uniform(0, np.pi))
    turned = Plane(turned.x / np.float32(stretch), turned.y * np.float32(stretch), turned.pixel, turned.window)
    distance = outline(turned, radius, 0.05, rng)
    # The dimple is rarely exactly central.
    dimple = turned.moved(*rng.normal(0, 0.06 * radius, 2))
    out = np.clip(np.hypot(dimple.x, dimple.y) / (radius * rng.uniform(0.72, 0.95)), 0, 1) ** 2
    biconcave = ((0.81 + 7.83 * out - 4.39 * out**2) / 4.2) ** 1.5
    rim = np.exp(-((distance / np.float32(0.30)) ** 2))
    return np.asarray(coverage(distance, 0.25) * ((1 - pallor) + pallor * biconcave + 0.10 * rim), np.float32)


def red_cells(frame: Frame, white: complex, white_radius: float, conditions: Conditions, rng: Random) -> Array:
    """Return the haemoglobin (h, w) of all red cells, single or stacked like coins, outside the white cell's disc."""
    width, height = frame.extent
    wanted = round((rng.uniform(0.65, 1.0) + 0.3 * conditions.thickness) * width * height / (np.pi * RED_RADIUS**2))
    stacking = 0.15 + 0.6 * conditions.thickness
    centres: list[complex] = []
    haemoglobin = np.zeros((frame.height, frame.width), np.float32)
    pallor = rng.uniform(0.75, 1.1) * (1 - 0.5 * conditions.thickness)
    heading = 0.0
    for _ in range(12 * wanted):
        if len(centres) >= wanted:
            break
        stacked = bool(centres) and rng.random() < stacking
        if stacked:
            heading += rng.normal(0, 0.35)
            centre = centres[-1] + RED_RADIUS * rng.uniform(0.8, 1.6) * np.exp(1j * heading)
        else:
            heading = rng.uniform(0, 2 * np.pi)
            centre = complex(*rng.uniform(-0.8 * RED_RADIUS, np.add(frame.extent, 0.8 * RED_RADIUS)))
        radius = rng.normal(RED_RADIUS, 0.07 * RED_RADIUS)
        others = np.array(centres[:-1] if stacked else centres)
        crowded = len(others) and np.abs(others - centre).min() < rng.uniform(0.6, 1.0) * 2 * RED_RADIUS
        if crowded or abs(centre - white) < white_radius + 0.93 * radius:
            continue
        centres.append(centre)
        plane = frame.around(centre.real, centre.imag, 1.7 * radius)
        if plane.x.size:
            cell_pallor = float(np.clip(pallor + rng.normal(0, 0.25), 0, 1))
            haemoglobin[plane.window] += rng.uniform(0.85, 1.1) * red_cell(plane, radius, cell_pallor, rng)
    # Overlapping cells are squeezed: two absorb less than twice as much.
    excess = np.maximum(haemoglobin - 1, 0)
    return np.asarray(np.minimum(haemoglobin, 1) + 0.35 * (1 - np.exp(-excess / 0.35)), np.float32)


def platelets(frame: Frame, cells: Array, rng: Random) -> Array:
    """Return the optical density (h, w, 3) of zero to a few small, granular, purple discs outside `cells` (h, w)."""
    density = np.zeros((frame.height, frame.width, 3), np.float32)
    width, height = frame.extent
    for _ in range(rng.poisson(0.003 * width * height)):
        radius = rng.uniform(0.7, 1.3)
        plane = frame.around(rng.uniform(0, width), rng.uniform(0, height), 2 * radius)
        if plane.x.size and cells[plane.window].mean() < 0.1:
            body = coverage(outline(plane, radius, 0.10, rng), 0.8) * (1 + 0.25 * plane.noise(0.5, rng))
            density[plane.window] += (rng.uniform(0.6, 1.2) * body)[..., None] * PLATELET
    return density


def granules(plane: Plane, rng: Random) -> Array:
    """Return coarse granules, (h, w): 1 at their centre, 0 in the gaps, below 0 for a refractile granule."""
    pitch = rng.uniform(0.75, 1.0)
    half_width, half_height = float(np.abs(plane.x).max()) + pitch, float(np.abs(plane.y).max()) + pitch
    x, y = np.meshgrid(np.arange(-half_width, half_width, pitch), np.arange(-half_height, half_height, 0.87 * pitch))
    x[1::2] += 0.5 * pitch
    centres = np.column_stack([x.ravel(), y.ravel()])
    centres += rng.normal(0, 0.17 * pitch, centres.shape)
    away, nearest = KDTree(centres).query(np.column_stack([plane.x.ravel(), plane.y.ravel()]))
    strength = rng.uniform(0.7, 1.15, len(centres)) * np.where(rng.random(len(centres)) < 0.06, -0.3, 1.0)
    size = 0.62 * pitch * rng.uniform(0.8, 1.15, len(centres))
    body = np.clip(1.5 - 1.5 * away / size[nearest], 0, 1) * strength[nearest]
    return np.asarray(body.reshape(plane.x.shape), np.float32)


def chromatin(plane: Plane, kind: Morphology, rng: Random) -> Array:
    """Return the texture of a nucleus (h, w) with mean about 1: dark clumps with lighter gaps, or fine strands."""
    noise = plane.noise(kind.clump, rng)
    if kind.lacy:
        noise = np.asarray(1.1 - 1.9 * np.abs(noise) ** 0.7 + 0.7 * plane.noise(3 * kind.clump, rng), np.float32)
    return np.asarray(1 + kind.contrast * np.clip(noise, -2.5, 1.5), np.float32)


def vacuoles(plane: Plane, radius: float, count: int, rng: Random) -> Array:
    """Return the fraction of missing stain (h, w): `count` small bubbles, mostly near the edge."""
    missing = np.zeros_like(plane.x)
    for _ in range(count):
        place = radius * rng.uniform(0.45, 0.9) * np.exp(1j * rng.uniform(0, 2 * np.pi))
        distance = rng.uniform(0.3, 0.75) - np.hypot(plane.x - place.real, plane.y - place.imag)
        missing = np.maximum(missing, 0.8 * coverage(np.asarray(distance, np.float32), 0.35))
    return missing


def white_cell(
    plane: Plane, kind: Morphology, radius: float, conditions: Conditions, rng: Random
) -> tuple[Array, Array]:
    """Return the optical density (h, w, 3) of a white cell at the plane's origin, and the fraction it covers (h, w)."""
    edge = 0.35 + 12 * kind.roughness  # µm: a rough outline is also softer
    body = outline(plane.warped(kind.roughness * 3, 2.0, rng), radius, kind.roughness, rng)
    covered = coverage(body, edge)
    nucleus = kind.nucleus(plane, radius, rng)
    in_nucleus = coverage(nucleus, 0.45) * coverage(body, 0.6)
    membrane = np.exp(-((nucleus / np.float32(0.35)) ** 2))
    thick = conditions.thickness
    stain = CHROMATIN_THIN + thick * (CHROMATIN_THICK - CHROMATIN_THIN)
    amount = kind.chromatin * in_nucleus * (chromatin(plane, kind, rng) + 0.08 * membrane)
    cytoplasm = covered * (1 + kind.mottle * plane.noise(0.45, rng) + 0.6 * kind.mottle * plane.noise(2.5, rng))
    cytoplasm *= (0.9 + 0.35 * thick) * rng.uniform(0.8, 1.2) * (1 - 0.6 * in_nucleus)
    density = (conditions.azure * amount)[..., None] * stain + cytoplasm[..., None] * kind.cytoplasm
    if kind.coarse_granules:
        grains = granules(plane, rng) * coverage(body - 0.15, 0.5) * (1 - 0.8 * in_nucleus)
        density += (conditions.eosin * rng.uniform(0.5, 1.1) * grains)[..., None] * EOSINOPHILIC
    count = int(rng.integers(kind.vacuoles[0], kind.vacuoles[1] + 1))
    density *= 1 - vacuoles(plane, radius, count, rng)[..., None]
    return np.asarray(density, np.float32), covered
