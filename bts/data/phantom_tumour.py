"""The three tumours of a phantom: site, outline and contrast uptake.

Meningioma: bright, even, outside the brain on the skull, with a dural tail. Glioma: irregular, in the white matter, a bright
uneven rim around a dark core, oedema around it. Pituitary: a small even mass at the sella, in the middle of the skull's base.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bts.data.phantom_head import SELLA, Head
from bts.data.phantom_shapes import Noise, Points, Vector, ellipsoid, join, paint, within
from bts.glossary import NO_TUMOUR


@dataclass(frozen=True, eq=False)
class Tumour:
    """One tumour in one head.

    Attributes:
        label: class name.
        centre: in the head's millimetres.
        axes: half-axes in millimetres.
        roughness: depth of the outline's bumps relative to the size.
        level: brightness of the enhancing part.
        rim: thickness of the rim relative to the size, gliomas only.
        noise: bumps and texture.
    """

    label: str
    centre: Vector
    axes: Vector
    roughness: float
    level: float
    rim: float
    noise: Noise

    @property
    def size_mm(self) -> float:
        """Mean half-axis."""
        return sum(self.axes) / 3

    def distance(self, points: Points, *, cavity: np.ndarray) -> np.ndarray:
        """Return the distance (n,) from the outline; a meningioma ends at the skull, whose distance is `cavity`."""
        size = self.size_mm
        shape = ellipsoid(points, self.centre, self.axes)
        if self.label == "pituitary":  # through the diaphragm upwards, with a waist
            top = (self.centre[0], self.centre[1] - 1, self.centre[2] + self.axes[2] * 1.05)
            shape = join(shape, ellipsoid(points, top, (self.axes[0] * 0.75, self.axes[1] * 0.75, self.axes[2] * 0.7)), 3)
        bumps = self.noise.at(points, size * 0.85) + 0.4 * self.noise.at(points, size * 0.33, offset=0.4)
        shape = shape + np.float32(self.roughness * size) * bumps
        return np.maximum(shape, cavity - 0.5) if self.label in ("meningioma", "glioma") else shape

    def pushed(self, points: Points, *, cavity: np.ndarray) -> Points:
        """Return where the tissue at `points` would lie without the tumour: it pushes the brain aside, but not the skull."""
        away = points.moved(self.centre)
        far = np.maximum(away.radius(), np.float32(0.5))
        push = 0.55 * self.size_mm * np.exp(-np.maximum(far - self.size_mm, 0) / (0.9 * self.size_mm)) / far
        push = (np.minimum(push, 0.75) * np.clip(-cavity / 8, 0, 1)).astype(np.float32)
        return Points(points.x - away.x * push, points.y - away.y * push, points.z - away.z * push)

    def draw(self, values: np.ndarray, points: Points, *, distance: np.ndarray, cavity: np.ndarray) -> None:
        """Paint tumour and surroundings over the healthy `values` (n,), in place."""
        texture = self.noise.at(points, 5, offset=2.7)
        in_brain = within(cavity + 2)
        if self.label == "glioma":
            self._draw_glioma(values, points, distance=distance, in_brain=in_brain, texture=texture)
            return
        if self.label == "meningioma":
            fingers = distance - self.size_mm * (0.2 + 0.16 * self.noise.at(points, 14, offset=6.1))
            paint(values, within(fingers, 5) * in_brain * 0.5, 0.26)
            paint(values, within(np.abs(distance) - 0.5, 1.2) * in_brain * 0.6, 0.2)  # a cleft of water around it
            tail = within(np.abs(cavity + 0.8) - 0.9, 1.2) * within(distance - 0.75 * self.size_mm, 6)
            paint(values, tail, self.level)
        paint(values, within(distance), self.level + 0.025 * texture)

    def _draw_glioma(
        self, values: np.ndarray, points: Points, *, distance: np.ndarray, in_brain: np.ndarray, texture: np.ndarray
    ) -> None:
        size = self.size_mm
        reach = size * (0.45 + 0.3 * self.noise.at(points, 15, offset=6.1))
        paint(values, within(distance - reach, 7) * in_brain * 0.75, 0.25)
        patches = self.noise.at(points, size * 0.6, offset=1.3)
        paint(values, within(distance, 1.5), np.clip(self.level + 0.12 * patches + 0.04 * texture, 0.45, 1))
        rim = size * self.rim * np.clip(1 + 0.75 * patches, 0.45, 1.6)
        paint(values, within(distance + rim, 2.0), 0.19 + 0.025 * texture)


def grow_tumour(label: str, head: Head, random: np.random.Generator, *, seed: tuple[int, ...]) -> Tumour | None:
    """Return a tumour of a class in a head, None for a healthy one."""
    if label == NO_TUMOUR:
        return None
    place = {"meningioma": _on_the_skull, "glioma": _in_white_matter, "pituitary": _at_the_sella}[label]
    centre, axes = place(head, random)
    return Tumour(
        label=label,
        centre=centre,
        axes=axes,
        roughness={"meningioma": 0.05, "glioma": 0.2, "pituitary": 0.045}[label],
        level=float(random.uniform(*{"meningioma": (0.78, 0.92), "glioma": (0.58, 0.74), "pituitary": (0.62, 0.76)}[label])),
        rim=float(random.uniform(0.13, 0.26)),
        noise=Noise(seed),
    )


def _on_the_skull(head: Head, random: np.random.Generator) -> tuple[Vector, Vector]:
    """Walk outwards until the skull is met, then step back by most of the radius."""
    turn, lift = random.uniform(0, 2 * np.pi), random.uniform(-0.15, 0.85)
    way = np.array([np.cos(turn) * np.cos(lift), np.sin(turn) * np.cos(lift), np.sin(lift)])
    steps = np.arange(30, 110, dtype=np.float32)
    walk = Points(*(np.float32(part) * steps + np.float32(start) for part, start in zip(way, (0, -2, 12), strict=True)))
    wall = steps[int(np.argmax(head.cavity(walk) > 0))]
    size = float(random.uniform(11, 27))
    centre = way * (wall - 0.72 * size) + (0, -2, 12)
    return _vector(centre), _vector(size * random.uniform(0.88, 1.15, 3))


def _in_white_matter(_head: Head, random: np.random.Generator) -> tuple[Vector, Vector]:
    side = random.choice((-1, 1))
    centre = (side * random.uniform(24, 36), random.uniform(-42, 38), random.uniform(8, 34))
    return _vector(centre), _vector(random.uniform(13, 26) * random.uniform(0.8, 1.25, 3))


def _at_the_sella(_head: Head, random: np.random.Generator) -> tuple[Vector, Vector]:
    centre = np.add(SELLA, random.uniform((-2, -1, -1), (2, 2, 2)))
    size = random.uniform(7, 12.5)
    return _vector(centre), _vector(size * random.uniform((0.95, 0.8, 0.85), (1.35, 1.0, 1.1)))


def _vector(numbers: object) -> Vector:
    x, y, z = np.asarray(numbers, dtype=float).tolist()
    return x, y, z
