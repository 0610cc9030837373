"""Solids and textures of a phantom: signed distances in millimetres, negative inside, and smooth noise.

The distances follow Inigo Quilez, "Distance functions" (iquilezles.org/articles/distfunctions); that of an ellipsoid is an
approximation, close enough near its surface.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates

Vector = tuple[float, float, float]
LATTICE = 24
"""Points of the noise lattice along each axis; noise repeats after this many wavelengths."""
FINE = 3
"""Steps into which each distance of the lattice is divided once, so that a look-up needs 8 neighbours and not 64."""


@dataclass(frozen=True, eq=False)
class Points:
    """Sampled points of a head: x to the left, y to the front, z to the top, each (n,) float32 in millimetres."""

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray

    def moved(self, centre: Vector, *, mirror: bool = False) -> Points:
        """Return the points as seen from a centre; with `mirror` the right side is mapped to the left."""
        x = np.abs(self.x) if mirror else self.x
        return Points(x - np.float32(centre[0]), self.y - np.float32(centre[1]), self.z - np.float32(centre[2]))

    def radius(self) -> np.ndarray:
        """Return the distance from the origin."""
        return np.sqrt(self.x**2 + self.y**2 + self.z**2)

    def __getitem__(self, chosen: np.ndarray) -> Points:
        return Points(self.x[chosen], self.y[chosen], self.z[chosen])


def ellipsoid(points: Points, centre: Vector, axes: Vector, *, mirror: bool = False) -> np.ndarray:
    """Return the distance (n,) from an ellipsoid of half-axes `axes`."""
    at = points.moved(centre, mirror=mirror)
    a, b, c = (np.float32(axis) for axis in axes)
    near = np.sqrt((at.x / a) ** 2 + (at.y / b) ** 2 + (at.z / c) ** 2)
    slope = np.sqrt((at.x / a**2) ** 2 + (at.y / b**2) ** 2 + (at.z / c**2) ** 2)
    return near * (near - 1) / np.maximum(slope, np.float32(1e-3))


def tube(points: Points, ends: tuple[Vector, ...], radii: tuple[float, ...], *, mirror: bool = False) -> np.ndarray:
    """Return the distance (n,) from a chain of straight pieces whose radius changes from end to end."""
    nearest = np.full(points.x.shape, np.inf, np.float32)
    for start, stop, first, last in zip(ends, ends[1:], radii, radii[1:], strict=False):
        at = points.moved(start, mirror=mirror)
        way = np.subtract(stop, start).astype(np.float32)
        share = np.clip((at.x * way[0] + at.y * way[1] + at.z * way[2]) / np.float32(way @ way), 0, 1)
        apart = np.sqrt((at.x - share * way[0]) ** 2 + (at.y - share * way[1]) ** 2 + (at.z - share * way[2]) ** 2)
        nearest = np.minimum(nearest, apart - np.float32(first) - share * np.float32(last - first))
    return nearest


def join(first: np.ndarray, second: np.ndarray, rounding: float) -> np.ndarray:
    """Return the distance from both solids together, the seam rounded over `rounding` millimetres."""
    share = np.clip(0.5 + 0.5 * (second - first) / np.float32(rounding), 0, 1).astype(np.float32)
    return second + share * (first - second) - np.float32(rounding) * share * (1 - share)


def within(distance: np.ndarray, soft_mm: float = 0.8) -> np.ndarray:
    """Return 1 inside, 0 outside, and a ramp `soft_mm` wide between, as partial volumes make it."""
    return np.clip(0.5 - distance / np.float32(soft_mm), 0, 1)


def paint(values: np.ndarray, share: np.ndarray, level: float | np.ndarray) -> None:
    """Bring `values` to `level` by a share (n,) in [0, 1], in place."""
    values += share * (level - values)


class Noise:
    """Smooth noise in space, mean 0 and standard deviation about 1, the same at the same place for one seed."""

    def __init__(self, seed: tuple[int, ...]) -> None:
        values = np.random.default_rng(seed).standard_normal((LATTICE,) * 3).astype(np.float32)
        for _ in range(3):  # cubic B-splines along each axis in turn: each pass brings the next axis to the front
            values = np.tensordot(values, _splines(), axes=(0, 1))
        self._values = np.ascontiguousarray(values) * np.float32(3)  # random spline weights have a deviation of a third

    def at(self, points: Points, wavelength_mm: float, *, offset: float = 0.0) -> np.ndarray:
        """Return values (n,) that change over about `wavelength_mm`; `offset` gives another field of the same kind."""
        places = np.stack([points.x, points.y, points.z]) * np.float32(FINE / wavelength_mm) + np.float32(offset * FINE)
        return map_coordinates(self._values, places, order=1, mode="grid-wrap", prefilter=False, output=np.float32)


def _splines() -> np.ndarray:
    """Return (FINE * LATTICE, LATTICE) weights of periodic cubic B-splines."""
    place = np.arange(FINE * LATTICE)[:, None] / FINE
    far = np.abs((place - np.arange(LATTICE) + LATTICE / 2) % LATTICE - LATTICE / 2)
    near_part = 2 / 3 - far**2 + far**3 / 2
    far_part = np.maximum(2 - far, 0) ** 3 / 6
    return np.where(far < 1, near_part, far_part).astype(np.float32)
