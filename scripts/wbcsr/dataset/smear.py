"""Stained blood smears drawn from scratch, in the layout of the study's archive.

A photograph is drawn as the microscope makes it: structures are laid out in micrometres, each adds the optical
density of its stains, the light that is left follows the law of Beer and Lambert (as in Ruifrok and Johnston,
"Quantification of histochemical staining by color deconvolution", Anal. Quant. Cytol. Histol. 23, 2001), and a
camera blurs it and adds noise. The images are rotated, sheared, shifted and flipped copies at half the size.

Arrays of one quantity are (h, w) float32, those of a colour (h, w, 3) float32 in the order red, green, blue;
lengths are in µm; a signed distance is positive inside.
"""

from __future__ import annotations

import csv
import io
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.spatial import KDTree

from wbcsr.files import replacing

Array = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
Random = np.random.Generator

IMAGES = "dataset2-master/dataset2-master/images"
PHOTOGRAPHS = "dataset-master/dataset-master/JPEGImages"
LABELS = "dataset-master/dataset-master/labels.csv"
# Pillow's default, which the published images have too.
JPEG_QUALITY = 75


def _stain(red: float, green: float, blue: float) -> Array:
    return np.array([red, green, blue], np.float32)


# Optical density (-log10 of the transmitted share) of each substance as Wright's stain shows it.
HAEMOGLOBIN = _stain(0.048, 0.146, 0.130)
CHROMATIN_THIN = _stain(0.175, 0.320, -0.035)  # violet, where the smear is thin and cells lie flat
CHROMATIN_THICK = _stain(0.280, 0.375, 0.005)  # blue-black, where it is thick and cells stay round
LILAC = _stain(0.055, 0.115, 0.030)
BASOPHILIC = _stain(0.160, 0.135, 0.010)
GREY_BLUE = _stain(0.088, 0.085, 0.020)
EOSINOPHILIC = _stain(0.015, 0.182, 0.162)
PLATELET = _stain(0.130, 0.160, 0.000)
RED_RADIUS = 3.8  # µm, of a dried red cell on average


# ---- geometry ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plane:
    """A window of the photograph with coordinates `x`, `y` about a point of interest."""

    x: Array
    y: Array
    pixel: float  # µm a pixel
    window: tuple[slice, slice]

    def noise(self, grain: float, rng: Random) -> Array:
        """Smooth noise of mean 0 and variance 1 whose spots are about `grain` µm wide."""
        sigma = max(0.4 * grain / self.pixel, 0.3)
        field = _blur(rng.standard_normal(self.x.shape).astype(np.float32), sigma)
        return np.asarray((field - field.mean()) / (field.std() + 1e-6), np.float32)

    def warped(self, amount: float, grain: float, rng: Random) -> Plane:
        """The same window seen through an uneven glass: shapes drawn in it get organic outlines."""
        dx, dy = amount * self.noise(grain, rng), amount * self.noise(grain, rng)
        return Plane(self.x + dx, self.y + dy, self.pixel, self.window)

    def turned(self, angle: float) -> Plane:
        """The same window in coordinates turned by `angle` (radians)."""
        cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        return Plane(cos * self.x + sin * self.y, cos * self.y - sin * self.x, self.pixel, self.window)

    def moved(self, x: float, y: float) -> Plane:
        """The same window with its origin moved to (x, y)."""
        return Plane(self.x - np.float32(x), self.y - np.float32(y), self.pixel, self.window)


@dataclass(frozen=True)
class Frame:
    """What the photograph shows: its size in pixels and its scale."""

    width: int
    height: int

    @property
    def pixel(self) -> float:
        """µm a pixel: a frame 480 pixels high shows 50 µm as the study's, a smaller one is a closer view."""
        side = min(self.height, 0.75 * self.width)
        return (10 + side / 12) / side

    @property
    def extent(self) -> tuple[float, float]:
        """Width and height in µm."""
        return self.width * self.pixel, self.height * self.pixel

    def around(self, x: float, y: float, reach: float) -> Plane:
        """The window within `reach` µm of (x, y), cut off at the frame; it may be empty."""
        left, right = (int(np.clip(round(v / self.pixel), 0, self.width)) for v in (x - reach, x + reach))
        top, bottom = (int(np.clip(round(v / self.pixel), 0, self.height)) for v in (y - reach, y + reach))
        columns = (np.arange(left, right, dtype=np.float32) + 0.5) * np.float32(self.pixel) - np.float32(x)
        rows = (np.arange(top, bottom, dtype=np.float32) + 0.5) * np.float32(self.pixel) - np.float32(y)
        grid_x, grid_y = np.meshgrid(columns, rows)
        return Plane(grid_x, grid_y, self.pixel, (slice(top, bottom), slice(left, right)))


def _blur(field: npt.NDArray[np.float32], sigma: float) -> Array:
    """Gaussian blur with `sigma` in pixels."""
    return np.asarray(cv2.GaussianBlur(field, (0, 0), sigma, borderType=cv2.BORDER_REFLECT), np.float32)


def _covered(distance: Array, softness: float) -> Array:
    """Share of each pixel that lies inside, rising smoothly over `softness` µm about the outline."""
    t = np.clip(0.5 + distance / np.float32(softness), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def _joined(one: Array, other: Array, neck: float) -> Array:
    """Signed distance of the union of two shapes whose junction is filled over `neck` µm."""
    blend = np.clip(0.5 + 0.5 * (one - other) / np.float32(neck), 0, 1)
    return np.asarray(other + (one - other) * blend + np.float32(neck) * blend * (1 - blend), np.float32)


def _ellipse(plane: Plane, a: float, b: float) -> Array:
    """Signed distance (near the outline) of an ellipse with semi-axes `a` along x and `b` along y."""
    return np.asarray((1 - np.hypot(plane.x / np.float32(a), plane.y / np.float32(b))) * np.sqrt(a * b), np.float32)


def _strand(plane: Plane, start: complex, end: complex, half_width: float) -> Array:
    """Signed distance of a straight strand between two points (x + iy)."""
    along = end - start
    px, py = plane.x - np.float32(start.real), plane.y - np.float32(start.imag)
    t = np.clip((px * along.real + py * along.imag) / max(abs(along) ** 2, 1e-6), 0, 1)
    return np.asarray(half_width - np.hypot(px - t * along.real, py - t * along.imag), np.float32)


def _outline(plane: Plane, radius: float, roughness: float, rng: Random) -> Array:
    """Signed distance (near the outline) of a disc whose radius wavers by about `roughness` of itself."""
    angle = np.arctan2(plane.y, plane.x)
    wavering = np.zeros_like(plane.x)
    for waves in range(2, 6):
        wavering += np.float32(rng.normal() / waves) * np.cos(waves * angle + np.float32(rng.uniform(0, 2 * np.pi)))
    return np.asarray(radius * (1 + 1.5 * roughness * wavering) - np.hypot(plane.x, plane.y), np.float32)


# ---- nuclei -----------------------------------------------------------------------------------------------------


def segmented_nucleus(plane: Plane, radius: float, rng: Random) -> Array:
    """Signed distance of three to five lobes along an arc, joined by thin strands."""
    lobes = int(rng.choice([3, 4, 5], p=[0.4, 0.4, 0.2]))
    return _lobes(plane, radius, lobes, area=0.36, span=rng.uniform(3.6, 4.9), rng=rng)


def bilobed_nucleus(plane: Plane, radius: float, rng: Random) -> Array:
    """Signed distance of two plump lobes, seldom three, pushed to one side and joined by a strand."""
    lobes = int(rng.choice([2, 3], p=[0.85, 0.15]))
    return _lobes(plane, radius, lobes, area=0.36, span=rng.uniform(1.9, 2.4) * (lobes - 1) ** 0.5, rng=rng)


def _lobes(plane: Plane, radius: float, lobes: int, *, area: float, span: float, rng: Random) -> Array:
    """Lobes that share `area` of the cell's disc, spread over `span` radians about its centre."""
    plane = plane.turned(rng.uniform(0, 2 * np.pi)).warped(0.035 * radius, 0.5 * radius, rng)
    size = radius * np.sqrt(area / lobes)
    distance_out = min(0.97 * radius - 0.95 * size, 0.52 * radius)
    angles = span * (np.arange(lobes) / (lobes - 1) - 0.5) + rng.normal(0, 0.10, lobes)
    centres = [rng.uniform(0.85, 1.0) * distance_out * np.exp(1j * angle) for angle in angles]
    shape = np.full_like(plane.x, -1e3)
    for centre, angle in zip(centres, angles, strict=True):
        long = rng.uniform(1.0, 1.3)
        tilted = plane.moved(centre.real, centre.imag).turned(angle + np.pi / 2 + rng.normal(0, 0.5))
        shape = _joined(shape, _ellipse(tilted, size * long, size * rng.uniform(0.88, 1.05) / long), 0.06 * radius)
    for start, end in pairwise(centres):
        shape = _joined(shape, _strand(plane, start, end, radius * rng.uniform(0.05, 0.11)), 0.12 * radius)
    return shape


def round_nucleus(plane: Plane, radius: float, rng: Random) -> Array:
    """Signed distance of one nearly round nucleus that leaves a thin rim, wider on one side."""
    plane = plane.turned(rng.uniform(0, 2 * np.pi)).moved(rng.uniform(0.0, 0.07) * radius, 0)
    size = radius * rng.uniform(0.82, 0.92)
    return _outline(plane.warped(0.02 * radius, 0.6 * radius, rng), size, 0.02, rng)


def kidney_nucleus(plane: Plane, radius: float, rng: Random) -> Array:
    """Signed distance of a thick arc, from a kidney to a horseshoe."""
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
    """What tells one kind of white cell from another."""

    description: str
    diameter: tuple[float, float]  # µm, in the thick and in the thin part of a smear
    roughness: float  # of the outline, as a share of the radius
    nucleus: Callable[[Plane, float, Random], Array]
    chromatin: float  # density of the nucleus; 1 is a neutrophil's
    clump: float  # µm, width of a clump of chromatin
    contrast: float  # between clumps and gaps
    lacy: bool  # fine strands in place of clumps
    cytoplasm: Array  # optical density
    mottle: float  # contrast of the cytoplasm's fine texture
    coarse_granules: bool  # eosinophilic granules fill the cytoplasm
    vacuoles: tuple[int, int]  # least and most


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
    """What differs from one photograph to the next: the smear, its stain, the light and the focus."""

    thickness: float  # 0 thin, cells lie flat and apart, to 1 thick, cells round, dark and stacked
    azure: float  # strength of the blue stain
    eosin: float  # strength of the red stain
    defocus: float  # µm, standard deviation of the blur

    @classmethod
    def drawn(cls, rng: Random) -> Conditions:
        """Conditions of one photograph, about as varied as the study's."""
        return cls(
            thickness=float(rng.beta(1.0, 2.0)),
            azure=rng.uniform(0.75, 1.1),
            eosin=rng.uniform(0.75, 1.05),
            defocus=0.13 + rng.exponential(0.06),
        )


# ---- structures -------------------------------------------------------------------------------------------------


def background(frame: Frame, rng: Random) -> Array:
    """Light without a specimen, (h, w, 3) in 0 to 1: pale grey-green, uneven, darker to the corners."""
    x, y = np.meshgrid(
        np.linspace(-1, 1, frame.width, dtype=np.float32), np.linspace(-1, 1, frame.height, dtype=np.float32)
    )
    colour = np.array([0.797, 0.805, 0.780]) * rng.normal(1, 0.012) * rng.normal(1, 0.006, 3)
    angle, tint_angle = rng.uniform(0, 2 * np.pi, 2)
    slope = rng.uniform(0, 0.035) * (x * np.cos(angle) + y * np.sin(angle))
    evenness = 1 + slope - rng.uniform(0.0, 0.03) * (x * x + y * y)
    # One side is a little greener and bluer, as where the condenser is off its axis.
    tint = rng.uniform(0, 0.012) * (x * np.cos(tint_angle) + y * np.sin(tint_angle))
    tinted = 1 + tint[..., None] * np.array([-1.0, 0.3, 0.7], np.float32)
    return np.asarray(colour * evenness[..., None] * tinted, np.float32)


def red_cell(plane: Plane, radius: float, pallor: float, rng: Random) -> Array:
    """Haemoglobin of one red cell, 1 in the thick of it.

    As far as `pallor` (0 to 1) says, the dimple is the polynomial of Evans and Fung, "Improved measurements of the
    erythrocyte geometry", Microvasc. Res. 4 (1972), deepened as by drying; the rest is a flat disc.
    """
    stretch = 1 + min(rng.exponential(0.10), 0.35)
    turned = plane.turned(rng.uniform(0, np.pi))
    turned = Plane(turned.x / np.float32(stretch), turned.y * np.float32(stretch), turned.pixel, turned.window)
    distance = _outline(turned, radius, 0.05, rng)
    # The dimple is seldom in the very middle.
    dimple = turned.moved(*rng.normal(0, 0.06 * radius, 2))
    out = np.clip(np.hypot(dimple.x, dimple.y) / (radius * rng.uniform(0.72, 0.95)), 0, 1) ** 2
    biconcave = ((0.81 + 7.83 * out - 4.39 * out**2) / 4.2) ** 1.5
    rim = np.exp(-((distance / np.float32(0.30)) ** 2))
    return np.asarray(_covered(distance, 0.25) * ((1 - pallor) + pallor * biconcave + 0.10 * rim), np.float32)


def red_cells(frame: Frame, white: complex, white_radius: float, conditions: Conditions, rng: Random) -> Array:
    """Haemoglobin (h, w) of all red cells, single or stacked like coins; they keep out of the white cell's disc."""
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
    # Cells that lie on each other are squeezed: two absorb less than twice as much.
    excess = np.maximum(haemoglobin - 1, 0)
    return np.asarray(np.minimum(haemoglobin, 1) + 0.35 * (1 - np.exp(-excess / 0.35)), np.float32)


def platelets(frame: Frame, cells: Array, rng: Random) -> Array:
    """Optical density (h, w, 3) of none to a few small, granular, purple discs, where no `cells` (h, w) lie."""
    density = np.zeros((frame.height, frame.width, 3), np.float32)
    width, height = frame.extent
    for _ in range(rng.poisson(0.003 * width * height)):
        radius = rng.uniform(0.7, 1.3)
        plane = frame.around(rng.uniform(0, width), rng.uniform(0, height), 2 * radius)
        if plane.x.size and cells[plane.window].mean() < 0.1:
            body = _covered(_outline(plane, radius, 0.10, rng), 0.8) * (1 + 0.25 * plane.noise(0.5, rng))
            density[plane.window] += (rng.uniform(0.6, 1.2) * body)[..., None] * PLATELET
    return density


def granules(plane: Plane, rng: Random) -> Array:
    """Coarse granules side by side, (h, w): 1 in their middle, 0 in the gaps, below 0 where one glistens."""
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
    """Texture of a nucleus (h, w) about 1: dark clumps with lighter gaps, or a lace of strands."""
    noise = plane.noise(kind.clump, rng)
    if kind.lacy:
        noise = np.asarray(1.1 - 1.9 * np.abs(noise) ** 0.7 + 0.7 * plane.noise(3 * kind.clump, rng), np.float32)
    return np.asarray(1 + kind.contrast * np.clip(noise, -2.5, 1.5), np.float32)


def vacuoles(plane: Plane, radius: float, count: int, rng: Random) -> Array:
    """Share of the stain that is missing (h, w): `count` small bubbles, mostly near the edge."""
    missing = np.zeros_like(plane.x)
    for _ in range(count):
        place = radius * rng.uniform(0.45, 0.9) * np.exp(1j * rng.uniform(0, 2 * np.pi))
        distance = rng.uniform(0.3, 0.75) - np.hypot(plane.x - place.real, plane.y - place.imag)
        missing = np.maximum(missing, 0.8 * _covered(np.asarray(distance, np.float32), 0.35))
    return missing


def white_cell(
    plane: Plane, kind: Morphology, radius: float, conditions: Conditions, rng: Random
) -> tuple[Array, Array]:
    """Optical density (h, w, 3) of one white cell about the plane's origin, and the share it covers (h, w)."""
    edge = 0.35 + 12 * kind.roughness  # µm: a rough outline also fades out more softly
    body = _outline(plane.warped(kind.roughness * 3, 2.0, rng), radius, kind.roughness, rng)
    covered = _covered(body, edge)
    nucleus = kind.nucleus(plane, radius, rng)
    in_nucleus = _covered(nucleus, 0.45) * _covered(body, 0.6)
    membrane = np.exp(-((nucleus / np.float32(0.35)) ** 2))
    thick = conditions.thickness
    stain = CHROMATIN_THIN + thick * (CHROMATIN_THICK - CHROMATIN_THIN)
    amount = kind.chromatin * in_nucleus * (chromatin(plane, kind, rng) + 0.08 * membrane)
    cytoplasm = covered * (1 + kind.mottle * plane.noise(0.45, rng) + 0.6 * kind.mottle * plane.noise(2.5, rng))
    cytoplasm *= (0.9 + 0.35 * thick) * rng.uniform(0.8, 1.2) * (1 - 0.6 * in_nucleus)
    density = (conditions.azure * amount)[..., None] * stain + cytoplasm[..., None] * kind.cytoplasm
    if kind.coarse_granules:
        grains = granules(plane, rng) * _covered(body - 0.15, 0.5) * (1 - 0.8 * in_nucleus)
        density += (conditions.eosin * rng.uniform(0.5, 1.1) * grains)[..., None] * EOSINOPHILIC
    count = int(rng.integers(kind.vacuoles[0], kind.vacuoles[1] + 1))
    density *= 1 - vacuoles(plane, radius, count, rng)[..., None]
    return np.asarray(density, np.float32), covered


def camera(light: Array, frame: Frame, conditions: Conditions, rng: Random) -> Pixels:
    """8-bit photograph of `light` (h, w, 3; 0 to 1): focus, colour fringes, the camera's own sharpening, noise."""
    sharp = _blur(light, conditions.defocus / frame.pixel)
    # The lens brings red and blue to slightly different places, on either side of green.
    fringe = rng.normal(0, 0.05, 2) / frame.pixel
    for channel, sign in ((0, 1), (2, -1)):
        shift = np.array([[1, 0, sign * fringe[0]], [0, 1, sign * fringe[1]]])
        sharp[..., channel] = cv2.warpAffine(
            sharp[..., channel], shift, (frame.width, frame.height), borderMode=cv2.BORDER_REFLECT
        )
    sharp += 0.5 * (sharp - _blur(sharp, 0.22 / frame.pixel))
    noise = _blur(rng.standard_normal(light.shape).astype(np.float32), 0.6)
    sharp += 0.0085 * noise * np.array([1.0, 1.0, 1.3], np.float32)
    return np.asarray(np.clip(np.rint(255 * sharp), 0, 255), np.uint8)


# ---- photographs and their copies -------------------------------------------------------------------------------


def draw_photograph(size: tuple[int, int], kind: str, rng: Random) -> Pixels:
    """A photograph of `size` (width, height), (height, width, 3) RGB, with one white cell of a kind of `KINDS`."""
    return draw_cell(size, kind, rng)[0]


def draw_cell(size: tuple[int, int], kind: str, rng: Random) -> tuple[Pixels, npt.NDArray[np.bool_]]:
    """The same photograph, and where its white cell is, (height, width)."""
    frame, morphology, conditions = Frame(*size), KINDS[kind], Conditions.drawn(rng)
    light = background(frame, rng)
    thin, thick = morphology.diameter[1], morphology.diameter[0]
    radius = 0.5 * (thin + conditions.thickness * (thick - thin)) * rng.uniform(0.94, 1.06)
    width, height = frame.extent
    centre = complex(width * rng.uniform(0.34, 0.66), height * rng.uniform(0.36, 0.64))
    haemoglobin = red_cells(frame, centre, radius, conditions, rng)
    plane = frame.around(centre.real, centre.imag, 1.5 * radius)
    white, covered = white_cell(plane, morphology, radius, conditions, rng)
    haemoglobin[plane.window] *= 1 - covered
    cells = haemoglobin.copy()
    cells[plane.window] += covered
    density = platelets(frame, cells, rng)
    density[plane.window] += white
    density += (conditions.eosin * haemoglobin)[..., None] * HAEMOGLOBIN
    cell = np.zeros(haemoglobin.shape, bool)
    cell[plane.window] = covered > 0.5
    return camera(np.asarray(light * 10.0**-density, np.float32), frame, conditions, rng), cell


def augmented_copy(photograph: Pixels, rng: Random) -> Pixels:
    """A copy rotated, sheared, shifted and perhaps flipped, at half the size; black where nothing was photographed."""
    height, width = photograph.shape[:2]
    angle, shear = np.radians(rng.uniform(-35, 35)), rng.uniform(-0.12, 0.12)
    flips = np.diag(rng.choice([-1.0, 1.0], 2))
    linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = linear @ np.array([[1, shear], [0, 1]]) @ flips
    middle = np.array([width - 1, height - 1]) / 2
    shift = rng.uniform(-0.08, 0.08, 2) * [width, height]
    matrix = np.column_stack([linear, middle + shift - linear @ middle])
    moved = cv2.warpAffine(photograph, matrix, (width, height), flags=cv2.INTER_LINEAR)
    return np.asarray(cv2.resize(moved, (width // 2, height // 2), interpolation=cv2.INTER_AREA), np.uint8)


def _jpeg(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def draw_archive(
    path: str | Path,
    classes: Sequence[str],
    *,
    image_size: tuple[int, int] = (160, 120),
    train_per_class: int = 24,
    test_per_class: int = 8,
    copies_per_source: int = 4,
    partitions: Sequence[str] = ("TRAIN", "TEST"),
    seed: int = 0,
) -> None:
    """Draw a data set and write it to the zip file `path` in the layout of the study's archive.

    `image_size` is (width, height) in pixels; photographs have twice that. A class named as one of `KINDS` looks
    so, any other takes the kind of its position, round and round. The first of the `partitions` has `train_per_class`
    images of each class, the others `test_per_class`. Each has photographs of its own; an
    image `_<n>_<m>.jpeg` is copy n of the photograph m, so that copies of one photograph come to stand on both
    sides of the paper split, as the study's do. One seed gives one file, byte for byte, and what an image shows
    does not depend on how many others there are.
    """
    size = (2 * image_size[0], 2 * image_size[1])
    labels: list[str] = []
    with replacing(path) as beside, zipfile.ZipFile(beside, "w") as archive:
        for place, partition in enumerate(partitions):
            images = train_per_class if place == 0 else test_per_class
            sources = -(-images // copies_per_source)
            for position, name in enumerate(classes):
                kind = name if name in KINDS else list(KINDS)[position % len(KINDS)]
                for source in range(sources):
                    key = [seed, zlib.crc32(partition.encode()), zlib.crc32(name.encode()), source]
                    photograph = draw_photograph(size, kind, np.random.default_rng(key))
                    number = len(labels)
                    _add(archive, f"{PHOTOGRAPHS}/BloodImage_{number:05d}.jpg", _jpeg(photograph))
                    labels.append(name)
                    for copy in range(images // sources + (source < images % sources)):
                        image = augmented_copy(photograph, np.random.default_rng([*key, copy]))
                        _add(archive, f"{IMAGES}/{partition}/{name}/_{copy}_{number}.jpeg", _jpeg(image))
        table = io.StringIO(newline="")
        csv.writer(table).writerows([("", "Image", "Category"), *(("", n, name) for n, name in enumerate(labels))])
        _add(archive, LABELS, table.getvalue().encode())


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Add a file with a fixed time and mode, so that the archive depends on its content alone."""
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.create_system, entry.external_attr = 3, 0o644 << 16
    archive.writestr(entry, content)
