"""A photograph of a blood smear: illumination, cells and camera."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from wbcsr.dataset.synthetic.cells import HAEMOGLOBIN, KINDS, Conditions, platelets, red_cells, white_cell
from wbcsr.dataset.synthetic.geometry import Array, Frame, Random, blur

Pixels = npt.NDArray[np.uint8]


def draw_photograph(size: tuple[int, int], kind: str, rng: Random) -> Pixels:
    """Draw a photograph of `size` (width, height): (height, width, 3) RGB, with one white cell of a kind in `KINDS`."""
    return draw_cell(size, kind, rng)[0]


def draw_cell(size: tuple[int, int], kind: str, rng: Random) -> tuple[Pixels, npt.NDArray[np.bool_]]:
    """Draw the photograph of `draw_photograph`; also returns the mask of its white cell, (height, width)."""
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


def background(frame: Frame, rng: Random) -> Array:
    """Return the light without a specimen, (h, w, 3), 0 to 1: pale grey-green, uneven, darker towards the corners."""
    x, y = np.meshgrid(
        np.linspace(-1, 1, frame.width, dtype=np.float32), np.linspace(-1, 1, frame.height, dtype=np.float32)
    )
    colour = np.array([0.797, 0.805, 0.780]) * rng.normal(1, 0.012) * rng.normal(1, 0.006, 3)
    angle, tint_angle = rng.uniform(0, 2 * np.pi, 2)
    slope = rng.uniform(0, 0.035) * (x * np.cos(angle) + y * np.sin(angle))
    evenness = 1 + slope - rng.uniform(0.0, 0.03) * (x * x + y * y)
    # One side is slightly greener and bluer, as with a decentred condenser.
    tint = rng.uniform(0, 0.012) * (x * np.cos(tint_angle) + y * np.sin(tint_angle))
    tinted = 1 + tint[..., None] * np.array([-1.0, 0.3, 0.7], np.float32)
    return np.asarray(colour * evenness[..., None] * tinted, np.float32)


def camera(light: Array, frame: Frame, conditions: Conditions, rng: Random) -> Pixels:
    """Return the 8-bit photograph of `light` (h, w, 3; 0 to 1): defocus, chromatic aberration, sharpening, noise."""
    sharp = blur(light, conditions.defocus / frame.pixel)
    # Lateral chromatic aberration: red and blue are displaced in opposite directions relative to green.
    fringe = rng.normal(0, 0.05, 2) / frame.pixel
    for channel, sign in ((0, 1), (2, -1)):
        shift = np.array([[1, 0, sign * fringe[0]], [0, 1, sign * fringe[1]]])
        sharp[..., channel] = cv2.warpAffine(
            sharp[..., channel], shift, (frame.width, frame.height), borderMode=cv2.BORDER_REFLECT
        )
    sharp += 0.5 * (sharp - blur(sharp, 0.22 / frame.pixel))
    noise = blur(rng.standard_normal(light.shape).astype(np.float32), 0.6)
    sharp += 0.0085 * noise * np.array([1.0, 1.0, 1.3], np.float32)
    return np.asarray(np.clip(np.rint(255 * sharp), 0, 255), np.uint8)
