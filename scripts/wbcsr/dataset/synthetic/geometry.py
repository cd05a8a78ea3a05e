"""Windows of a photograph in micrometres, and shapes in them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Random = np.random.Generator


@dataclass(frozen=True)
class Plane:
    """A window of the photograph with coordinates `x`, `y` relative to a point of interest."""

    x: Array
    y: Array
    pixel: float  # µm per pixel
    window: tuple[slice, slice]

    def noise(self, grain: float, rng: Random) -> Array:
        """Return smooth noise with mean 0 and variance 1 and spots about `grain` µm wide."""
        sigma = max(0.4 * grain / self.pixel, 0.3)
        field = blur(rng.standard_normal(self.x.shape).astype(np.float32), sigma)
        return np.asarray((field - field.mean()) / (field.std() + 1e-6), np.float32)

    def warped(self, amount: float, grain: float, rng: Random) -> Plane:
        """Return the same window with randomly distorted coordinates, which gives shapes irregular outlines."""
        dx, dy = amount * self.noise(grain, rng), amount * self.noise(grain, rng)
        return Plane(self.x + dx, self.y + dy, self.pixel, self.window)

    def turned(self, angle: float) -> Plane:
        """Return the same window in coordinates rotated by `angle` (radians)."""
        cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        return Plane(cos * self.x + sin * self.y, cos * self.y - sin * self.x, self.pixel, self.window)

    def moved(self, x: float, y: float) -> Plane:
        """Return the same window with its origin moved to (x, y)."""
        return Plane(self.x - np.float32(x), self.y - np.float32(y), self.pixel, self.window)


@dataclass(frozen=True)
class Frame:
    """The size of a photograph in pixels, and its scale."""

    width: int
    height: int

    @property
    def pixel(self) -> float:
        """µm per pixel: a frame 480 pixels high shows 50 µm, as in the study; a smaller frame is a closer view."""
        side = min(self.height, 0.75 * self.width)
        return (10 + side / 12) / side

    @property
    def extent(self) -> tuple[float, float]:
        """Width and height in µm."""
        return self.width * self.pixel, self.height * self.pixel

    def around(self, x: float, y: float, reach: float) -> Plane:
        """Return the window within `reach` µm of (x, y), clipped to the frame; it may be empty."""
        left, right = (int(np.clip(round(v / self.pixel), 0, self.width)) for v in (x - reach, x + reach))
        top, bottom = (int(np.clip(round(v / self.pixel), 0, self.height)) for v in (y - reach, y + reach))
        columns = (np.arange(left, right, dtype=np.float32) + 0.5) * np.float32(self.pixel) - np.float32(x)
        rows = (np.arange(top, bottom, dtype=np.float32) + 0.5) * np.float32(self.pixel) - np.float32(y)
        grid_x, grid_y = np.meshgrid(columns, rows)
        return Plane(grid_x, grid_y, self.pixel, (slice(top, bottom), slice(left, right)))


def blur(field: npt.NDArray[np.float32], sigma: float) -> Array:
    """Gaussian blur with `sigma` in pixels."""
    return np.asarray(cv2.GaussianBlur(field, (0, 0), sigma, borderType=cv2.BORDER_REFLECT), np.float32)


def coverage(distance: Array, softness: float) -> Array:
    """Return the fraction of each pixel that is inside, with a smooth transition `softness` µm wide."""
    t = np.clip(0.5 + distance / np.float32(softness), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def joined(one: Array, other: Array, neck: float) -> Array:
    """Return the signed distance of the union of two shapes whose junction is filled over `neck` µm."""
    blend = np.clip(0.5 + 0.5 * (one - other) / np.float32(neck), 0, 1)
    return np.asarray(other + (one - other) * blend + np.float32(neck) * blend * (1 - blend), np.float32)


def ellipse(plane: Plane, a: float, b: float) -> Array:
    """Return the signed distance (accurate near the outline) of an ellipse with semi-axes `a` (x) and `b` (y)."""
    return np.asarray((1 - np.hypot(plane.x / np.float32(a), plane.y / np.float32(b))) * np.sqrt(a * b), np.float32)


def strand(plane: Plane, start: complex, end: complex, half_width: float) -> Array:
    """Return the signed distance of a straight strand between two points (x + iy)."""
    along = end - start
    px, py = plane.x - np.float32(start.real), plane.y - np.float32(start.imag)
    t = np.clip((px * along.real + py * along.imag) / max(abs(along) ** 2, 1e-6), 0, 1)
    return np.asarray(half_width - np.hypot(px - t * along.real, py - t * along.imag), np.float32)


def outline(plane: Plane, radius: float, roughness: float, rng: Random) -> Array:
    """Return the signed distance (accurate near the outline) of a disc whose radius varies by about `roughness`."""
    angle = np.arctan2(plane.y, plane.x)
    wavering = np.zeros_like(plane.x)
    for waves in range(2, 6):
        wavering += np.float32(rng.normal() / waves) * np.cos(waves * angle + np.float32(rng.uniform(0, 2 * np.pi)))
    return np.asarray(radius * (1 + 1.5 * roughness * wavering) - np.hypot(plane.x, plane.y), np.float32)
