"""Slices of a synthetic head: planes through head and tumour, uneven coil sensitivity, blur and noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from bts.data.phantom_head import Head
from bts.data.phantom_shapes import Noise, Points
from bts.data.phantom_tumour import Tumour, grow_tumour

PLANES = {
    # rows run down the picture, columns to its right, and slices follow each other along the third direction
    "axial": ((0, -1, 0), (1, 0, 0), (0, 0, 1)),
    "coronal": ((0, 0, -1), (1, 0, 0), (0, 1, 0)),
    "sagittal": ((0, 0, -1), (0, -1, 0), (1, 0, 0)),
}
MEASURED = 320
"""Rows and columns that are computed; larger images are interpolated from these, as scanners do."""
MIDDLE = {"axial": (0.0, -1.0, 0.0), "coronal": (0.0, 0.0, -14.0), "sagittal": (0.0, 4.0, -16.0)}
HEALTHY_FROM_TO = {"axial": (-12, 40), "coronal": (-45, 35), "sagittal": (-40, 40)}


@dataclass(frozen=True, eq=False)
class Examination:
    """Geometry and noise of one patient's scan.

    Attributes:
        plane: name in `PLANES`.
        turn: (3, 3) rotation of the head in the scanner.
        scale: size of the head along x, y and z relative to the usual.
        field_mm: side of the picture.
        shift_mm: (row, column) by which the head is off the middle.
        gain: brightest value of a slice, about.
        noise_level: standard deviation of the noise relative to fat.
        coil: uneven sensitivity.
    """

    plane: str
    turn: np.ndarray
    scale: np.ndarray
    field_mm: float
    shift_mm: tuple[float, float]
    gain: float
    noise_level: float
    coil: Noise

    def points(self, offset_mm: float, side: int) -> Points:
        """Return the head's places (side * side,) under the pixels of the slice at `offset_mm`."""
        down, right, along = (np.array(way, np.float32) for way in PLANES[self.plane])
        steps = (np.arange(side, dtype=np.float32) + 0.5) / side * self.field_mm - self.field_mm / 2
        row, column = np.meshgrid(steps - self.shift_mm[0], steps - self.shift_mm[1], indexing="ij")
        in_plane = np.array(MIDDLE[self.plane]) * (1 - np.abs(along))
        place = np.stack([row.ravel() * down[i] + column.ravel() * right[i] + in_plane[i] for i in range(3)])
        turned = (self.turn @ place + (along * offset_mm)[:, None]) / self.scale[:, None]
        return Points(*turned.astype(np.float32))


def draw_slices(
    *, label: str, n_slices: int, side: int, seed: tuple[int, ...], scan: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield image (side, side) int16 and mask (side, side) bool of each slice of one patient.

    Args:
        label: class name; healthy slices have an empty mask.
        n_slices: neighbouring slices, which look alike.
        side: rows and columns.
        seed: equal seeds give the same head and tumour.
        scan: number of the examination: another scan of the same patient has its own plane and noise, and a larger tumour.
    """
    random = np.random.default_rng([*seed, 1])
    head = Head(
        noise=Noise((*seed, 2)),
        ventricles=float(random.uniform(0.75, 1.35)),
        fat_mm=float(random.uniform(2.5, 6)),
        contrast=float(random.uniform(0.8, 1.6)),
    )
    tumour = grow_tumour(label, head, random, seed=(*seed, 3))
    scale = random.uniform((0.93, 0.93, 0.93), (1.03, 1.02, 1.03))
    random = np.random.default_rng([*seed, 4, scan])
    if tumour is not None and scan:
        tumour = _grown(tumour, 1 + 0.15 * scan)
    examination = examine(random, scale, seed=(*seed, 5, scan))
    for offset in _offsets(examination, tumour, n_slices, random):
        yield _draw(head, tumour, examination, offset, side=side, random=random)


def examine(random: np.random.Generator, scale: np.ndarray, *, seed: tuple[int, ...]) -> Examination:
    """Draw an examination: plane, position of the head, field of view and appearance."""
    pitch, roll, yaw = np.deg2rad(random.uniform((-9, -4, -4), (9, 4, 4)))
    turn = _rotation(pitch, 1, 2) @ _rotation(roll, 0, 2) @ _rotation(yaw, 0, 1)
    return Examination(
        plane=str(random.choice(sorted(PLANES))),
        turn=turn,
        scale=scale,
        field_mm=float(random.uniform(228, 258)),
        shift_mm=(float(random.uniform(-6, 6)), float(random.uniform(-6, 6))),
        gain=float(random.uniform(600, 4500)),
        noise_level=float(random.uniform(0.008, 0.02)),
        coil=Noise(seed),
    )


def _rotation(angle: float, first: int, second: int) -> np.ndarray:
    turn = np.eye(3)
    turn[first, first] = turn[second, second] = np.cos(angle)
    turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
    return turn


def _grown(tumour: Tumour, factor: float) -> Tumour:
    x, y, z = (axis * factor for axis in tumour.axes)
    return replace(tumour, axes=(x, y, z))


def _offsets(examination: Examination, tumour: Tumour | None, n_slices: int, random: np.random.Generator) -> list[float]:
    """Return where the slices lie along their axis: through the tumour, neighbours 2 to 5 mm apart."""
    axis = int(np.argmax(np.abs(PLANES[examination.plane][2])))
    if tumour is None:
        middle, half = float(random.uniform(*HEALTHY_FROM_TO[examination.plane])), 2.0 * n_slices
    else:
        upright = examination.turn[:, axis]  # direction of the slices in the tilted head
        middle = float(upright @ (np.array(tumour.centre) * examination.scale) / upright[axis])
        half = min(0.55 * tumour.axes[axis], 2.5 * (n_slices - 1))
    jitter = random.uniform(-0.1, 0.1) * half
    return [middle + jitter + half * (2 * number / (n_slices - 1) - 1 if n_slices > 1 else 0.0) for number in range(n_slices)]


def _draw(
    head: Head, tumour: Tumour | None, examination: Examination, offset: float, *, side: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    measured = min(side, MEASURED)
    points = examination.points(offset, measured)
    inside = head.surface(points) < 1
    here = points[inside]
    far = np.full(measured * measured, np.float32(99))
    if tumour is None:
        values = head.brightness(here)
    else:
        cavity = head.cavity(here)
        far[inside] = tumour.distance(here, cavity=cavity)
        values = head.brightness(tumour.pushed(here, cavity=cavity))
        tumour.draw(values, here, distance=far[inside], cavity=cavity)
    light = np.exp(0.16 * examination.coil.at(here, 130)) * np.clip((here.z + 150) / 70, 0.25, 1)
    picture = np.zeros(measured * measured, np.float32)
    picture[inside] = values * light
    picture = gaussian_filter(picture.reshape(measured, measured), 0.45)
    mask = _enlarged(far.reshape(measured, measured), side) < 0
    return _scan(_enlarged(picture, side), examination, random), mask


def _enlarged(picture: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))


def _scan(picture: np.ndarray, examination: Examination, random: np.random.Generator) -> np.ndarray:
    """Return int16 values with a faint ghost and Rician noise, as in magnitude images."""
    side = picture.shape[0]
    ghost = np.roll(picture, side // 3, axis=1) + np.roll(picture, -(side // 3), axis=1)
    real, imaginary = random.standard_normal((2, side, side), dtype=np.float32) * examination.noise_level
    seen = np.hypot(picture + 0.006 * ghost + real, imaginary)
    return np.round(seen * examination.gain * random.uniform(0.95, 1.05)).astype(np.int16)
