"""Brightness of a healthy head in a contrast-enhanced T1 image, at any point in space.

A simplified anatomy in millimetres from the middle of the brain: the planes look like a head, and the sites of the tumours
(skull, white matter, sella) are in their usual places. Brightness is relative to fat, which is 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bts.data.phantom_shapes import Noise, Points, Vector, ellipsoid, join, paint, tube, within

AIR, BONE, CSF, GREY, WHITE, MUSCLE, MARROW, FAT, VESSEL = 0.02, 0.06, 0.13, 0.35, 0.43, 0.34, 0.55, 0.95, 0.9
SKULL_MM = 7.0
SELLA: Vector = (0.0, 13.0, -21.0)
VENTRICLE = ((5.0, 34.0, 8.0), (8.0, 14.0, 20.0), (11.0, -12.0, 21.0), (20.0, -36.0, 10.0), (24.0, -52.0, 5.0))
TEMPORAL_HORN = ((20.0, -36.0, 10.0), (31.0, -22.0, -12.0), (30.0, 2.0, -18.0))


@dataclass(frozen=True, eq=False)
class Head:
    """Anatomy of one patient.

    Attributes:
        noise: texture and folding.
        ventricles: width of the ventricles relative to the usual.
        fat_mm: thickness of the scalp's fat.
        contrast: difference between white and grey matter relative to the usual.
    """

    noise: Noise
    ventricles: float
    fat_mm: float
    contrast: float

    def surface(self, points: Points) -> np.ndarray:
        """Return the distance (n,) from the skin."""
        cranium = ellipsoid(points, (0, -2, 14), (79, 98, 77))
        face = join(ellipsoid(points, (0, 50, -46), (54, 44, 56)), ellipsoid(points, (0, 66, -92), (34, 26, 22)), 16)
        nose = tube(points, ((0, 90, -22), (0, 106, -50)), (6, 11))
        neck = np.maximum((np.hypot(points.x / 56, (points.y + 22) / 52) - 1) * 52, points.z + 30)
        ears = ellipsoid(points, (83, -12, -28), (5, 16, 26), mirror=True)
        head = join(join(join(cranium, face, 18), neck, 30), nose, 9)
        return join(head, ears, 5) + self.noise.at(points, 45) * np.float32(1.2)

    def cavity(self, points: Points) -> np.ndarray:
        """Return the distance (n,) from the inner side of the skull."""
        floor = -14 + 0.06 * (points.y - 20) - points.z + np.float32(3) * np.cos(points.x / 9)
        cerebrum = np.maximum(ellipsoid(points, (0, -2, 14), (67, 85, 63)), floor)
        temporal = ellipsoid(points, (37, 10, -20), (27, 34, 23), mirror=True)
        posterior = ellipsoid(points, (0, -37, -26), (53, 37, 34))
        canal = tube(points, ((0, -20, -30), (0, -27, -62), (0, -34, -160)), (13, 12, 9))
        brain = join(join(cerebrum, temporal, 8), posterior, 6)
        return join(brain, canal, 6) + self.noise.at(points, 50, offset=0.5) * np.float32(1.3)

    def brightness(self, points: Points) -> np.ndarray:
        """Return the brightness (n,) of healthy tissue, 0 outside the head."""
        skin, cavity = self.surface(points), self.cavity(points)
        values = np.full(points.x.shape, MUSCLE, np.float32)
        self._outside_skull(values, points, skin=skin)
        self._face(values, points)
        self._skull(values, points, cavity=cavity)
        inside = cavity < 1
        brain = np.full(int(inside.sum()), CSF, np.float32)
        self._brain(brain, points[inside], depth=-cavity[inside])
        values[inside] += within(cavity[inside]) * (brain - values[inside])
        values *= within(skin)
        return values

    def _outside_skull(self, values: np.ndarray, points: Points, *, skin: np.ndarray) -> None:
        streaks = self.noise.at(points, 7, offset=3.1)
        values *= 1 + 0.16 * streaks
        paint(values, np.clip(streaks - 1.0, 0, 1), FAT * 0.6)  # fat between the muscles
        fat = np.clip((self.fat_mm + 1.5 * self.noise.at(points, 30, offset=1.7) + skin) / 1.5 + 0.5, 0, 1)
        paint(values, fat, FAT + 0.05 * streaks)
        paint(values, within(-skin - 1.3, 1.0), 0.6)

    def _skull(self, values: np.ndarray, points: Points, *, cavity: np.ndarray) -> None:
        near = cavity < SKULL_MM + 2
        wall, place = cavity[near], points[near]
        width = SKULL_MM + self.noise.at(place, 25, offset=5.3)
        part = values[near]
        paint(part, within(wall - width), BONE)
        marrow = within(np.abs(wall - 0.52 * width) - 0.17 * width, 1.5)
        paint(part, marrow, MARROW * np.clip(0.85 + 0.25 * self.noise.at(place, 9, offset=2.2), 0.3, 1.2))
        paint(part, within(np.abs(wall) - 0.5, 1.0) * 0.5, 0.55)  # dura takes contrast up
        values[near] = part

    def _face(self, values: np.ndarray, points: Points) -> None:
        low = points.z < 16
        part, at = values[low], points[low]
        cells = self.noise.at(at, 4.5, offset=7.7)
        orbit = ellipsoid(at, (29, 56, -24), (16, 27, 17), mirror=True)
        paint(part, within(orbit, 4), FAT * np.clip(0.7 + 0.22 * cells, 0.35, 0.95))  # a smooth one looks like a meningioma
        for ends, radius in (
            (((31, 66, -24), (7, 20, -16)), 2.2),
            (((41, 66, -24), (20, 28, -20)), 1.8),
            (((31, 68, -13), (17, 28, -16)), 1.8),
            (((31, 68, -35), (17, 28, -24)), 1.8),
            (((22, 66, -24), (14, 28, -20)), 1.8),
        ):
            paint(part, within(tube(at, ends, (radius, radius), mirror=True)), 0.42)
        eye = ellipsoid(at, (31, 75, -24), (12.5, 12.5, 12.5), mirror=True)
        paint(part, within(eye), 0.4)
        paint(part, within(eye + 1.6), 0.14)
        paint(part, within(ellipsoid(at, (31, 84, -24), (5, 2.2, 5), mirror=True)), 0.36)
        nose = within(ellipsoid(at, (0, 66, -48), (15, 32, 22)), 2)
        paint(part, nose, np.where(np.sin(at.z / 2.7 + 0.8 * cells) * np.abs(at.x) > 2.2, 0.5, AIR))
        paint(part, within(ellipsoid(at, (0, 58, -20), (10, 22, 8)), 2), np.where(cells > 0.6, 0.45, AIR + 0.03))
        paint(part, within(ellipsoid(at, (31, 60, -50), (14, 17, 16), mirror=True), 1.5), AIR)
        paint(part, within(ellipsoid(at, (14, 88, -4), (12, 5, 8), mirror=True), 1.5), AIR)
        paint(part, within(ellipsoid(at, (49, -26, -38), (13, 15, 13), mirror=True), 3), np.where(cells > 0.9, 0.4, BONE))
        paint(part, within(ellipsoid(at, (34, -10, -32), (22, 9, 9), mirror=True), 3), BONE + 0.12 * (cells > 0.4))  # petrous
        self._midline(part, at, cells=cells)
        values[low] = part

    def _midline(self, values: np.ndarray, points: Points, *, cells: np.ndarray) -> None:
        """Sinus, clivus, palate, tongue, throat and spine."""
        paint(values, within(ellipsoid(points, (0, 24, -36), (14, 14, 10)) + 0.6 * cells, 1.5), AIR)
        clivus = tube(points, ((0, 3, -30), (0, -9, -54)), (7, 5))
        paint(values, within(clivus), BONE)
        paint(values, within(clivus + 1.5), MARROW * 1.05)
        paint(values, within(tube(points, ((0, 44, -70), (0, 84, -70)), (3, 3)), 2), MARROW)
        tongue = ellipsoid(points, (0, 56, -88), (25, 30, 15))
        paint(values, within(tongue, 1.5), 0.4 + 0.05 * np.sin(points.x / 2 + cells))
        paint(values, within(np.abs(tongue) - 0.7, 1.5) * (points.z > -90), AIR)
        paint(values, within(tube(points, ((0, 40, -58), (0, 17, -74), (0, 14, -160)), (7, 6, 8)), 1.5), AIR)
        spine = np.maximum(np.hypot(points.x / 13, (points.y + 7) / 8) * 8 - 8, points.z + 58)
        paint(values, within(spine, 1.5), MARROW)
        paint(values, within(spine, 1.5) * np.clip(1 - np.abs((points.z % 17) - 8.5) / 2, 0, 1), 0.16)

    def _brain(self, values: np.ndarray, points: Points, *, depth: np.ndarray) -> None:
        """Paint cerebrum, cerebellum and stem over the water that fills the skull."""
        grey, white = GREY, GREY + (WHITE - GREY) * self.contrast
        stem = join(
            ellipsoid(points, (0, -13, -30), (15, 13, 15)),
            tube(points, ((0, -8, -4), (0, -18, -34), (0, -27, -64), (0, -34, -160)), (12, 9, 7, 5.5)),
            4,
        )
        tent = points.z + 8 + 0.2 * np.abs(points.x) - 0.2 * (points.y + 40)  # 0 on the tentorium, above it positive
        above = -tent - 5 * np.clip(points.y + 12, 0, None)  # in front of it the temporal lobes reach down
        cerebellum = np.maximum(np.maximum(1.8 - depth, tent + 2.5), points.y + 25 - np.clip(np.abs(points.x) - 8, 0, 11))
        cerebrum = np.maximum(2.2 + 0.7 * self.noise.at(points, 18, offset=9.1) - depth, above)
        cerebrum = np.maximum(cerebrum, -ellipsoid(points, (0, 6, -18), (13, 14, 6)))  # the cistern above the sella
        paint(values, within(cerebrum, 1.2), self._cortex(points, depth=depth, grey=grey, white=white))
        self._deep(values, points, grey=grey, white=white)
        paint(values, within(stem, 1.2), white - 0.02)
        paint(values, within(cerebellum, 1.2), self._folia(points, grey=grey, white=white))
        paint(values, within(ellipsoid(points, (0, -32, -31), (6, 5, 9)), 1.5), CSF)  # fourth ventricle
        behind = (points.y < -12) & (np.abs(points.x) > 4) & (depth > 1)
        paint(values, within(np.abs(tent) - 0.4, 1.0) * behind * 0.7, 0.62)
        self._vessels(values, points, depth=depth)

    def _cortex(self, points: Points, *, depth: np.ndarray, grey: float, white: float) -> np.ndarray:
        """Return grey and white matter with sulci that run inwards: the folding hardly changes with depth."""
        radius = np.maximum(points.radius(), 20)
        stretch = (np.float32(70) / radius) ** np.float32(0.8)
        along = Points(points.x * stretch, points.y * stretch, points.z * stretch)
        folding = self.noise.at(along, 10.5) + 0.35 * self.noise.at(along, 5, offset=3.7)
        reach = 17 + 5 * self.noise.at(points, 22, offset=6.6)
        near = np.clip((reach - depth) / 7, 0, 1)
        band = np.maximum(
            np.exp(-((folding / 0.62) ** 2)) * np.clip((reach + 5 - depth) / 5, 0, 1), np.clip((5.5 - depth) / 2, 0, 1)
        )
        tissue = white + (grey - white) * band + 0.012 * self.noise.at(points, 9, offset=8.2)
        water = np.exp(-((folding / 0.2) ** 2)) * near * np.clip(0.7 + 0.3 * self.noise.at(points, 26, offset=2.9), 0.25, 1)
        side = points.x + 1.6 * self.noise.at(points, 13, offset=1.1)
        outside_callosum = np.clip((np.hypot((points.y + 3) / 47, (points.z - 6) / 29) - 1) * 8, 0, 1)
        water = np.maximum(water, np.exp(-((side / 1.1) ** 2)) * outside_callosum * 0.8)
        cleft = np.abs(points.z + 1 + 0.33 * points.y + 1.5 * self.noise.at(points, 16, offset=3.3))
        sylvian = np.exp(-((cleft / 1.7) ** 2)) * np.clip((np.abs(points.x) - 34) / 5, 0, 1)
        water = np.maximum(water, sylvian * np.clip((30 - np.abs(points.y - 2)) / 6, 0, 1) * 0.9)
        return tissue + water * (CSF - tissue)

    def _folia(self, points: Points, *, grey: float, white: float) -> np.ndarray:
        """Return the leaves of the cerebellum: fine layers, and a tree of white matter that branches outwards."""
        at = points.moved((0, -36, -30))
        stretch = (np.float32(25) / np.maximum(at.radius(), 8)) ** np.float32(0.9)
        tree = self.noise.at(Points(at.x * stretch * 0.5, at.y * stretch, at.z * stretch), 7, offset=4.4)
        layers = np.sin(ellipsoid(at, (0, 0, 0), (30, 16, 14)) * 1.7 + 3.5 * self.noise.at(points, 13, offset=7.4))
        core = within(ellipsoid(points, (15, -40, -32), (16, 9, 9), mirror=True), 8)
        branches = np.maximum(core, np.clip(1.3 * tree - 0.2, 0, 1) * 0.8)
        fissures = np.exp(-(((tree + 0.7) / 0.25) ** 2)) * (1 - core)
        return grey + (white - grey) * branches - 0.02 * layers * (1 - core) - 0.13 * fissures

    def _deep(self, values: np.ndarray, points: Points, *, grey: float, white: float) -> None:
        """Paint callosum, basal nuclei and ventricles."""
        arch = np.hypot((points.y + 3) / 40, (points.z - 2) / 25)
        callosum = np.maximum(np.abs(arch - 1) * 25 - 3.2, np.maximum(np.abs(points.x) - 14, -2 - points.z))
        paint(values, within(callosum, 1.5), white + 0.03)
        for centre, axes in (((11, -9, 4), (9, 15, 9)), ((25, 6, 4), (6, 16, 9)), ((13, 21, 10), (5, 10, 8))):
            paint(values, within(ellipsoid(points, centre, axes, mirror=True), 2.5), grey + 0.01)
        wide = self.ventricles
        lateral = tube(points, VENTRICLE, (5.5 * wide, 5.5 * wide, 5.5 * wide, 7.5 * wide, 2.5), mirror=True)
        lateral = np.minimum(lateral, tube(points, TEMPORAL_HORN, (5 * wide, 2.5 * wide, 1.5), mirror=True))
        wall = 0.9 - 0.9 * np.clip((np.abs(points.x) - 2) / 3, 0, 1)  # the septum keeps the two apart
        paint(values, within(lateral + wall + 0.4 * self.noise.at(points, 8), 1.2), CSF)
        third = ellipsoid(points, (0, -4, -2), (2.2 * wide, 15, 10))
        paint(values, within(third, 1.2), CSF)
        paint(values, within(tube(points, ((20, -35, 11), (12, -16, 20)), (2.6, 1.2), mirror=True)), 0.72)  # choroid plexus

    def _vessels(self, values: np.ndarray, points: Points, *, depth: np.ndarray) -> None:
        sinus = np.maximum(np.hypot(points.x, depth - 1.5) - 2.2, 25 - np.hypot(points.y + 5, points.z) * 0.5)
        paint(values, within(np.maximum(sinus, np.minimum(4 - points.z, points.y + 60))), 0.75)
        for ends, radius in (
            (((0, 1, -22), (0, 1, -36), (0, -12, -60)), 1.7),
            (((12, 9, -34), (12, 12, -20), (15, 8, -13)), 2.3),
            (((15, 8, -13), (32, 10, -8), (44, 2, -4), (50, -16, 4)), 1.3),
            (((2, 12, -13), (2, 27, -8), (2, 37, 2), (2, 39, 13), (2, 33, 24), (2, 18, 31), (2, -6, 33)), 1.0),
        ):
            paint(values, within(tube(points, ends, (radius,) * len(ends), mirror=True)), VESSEL)
        specks = self.noise.at(points, 4.5, offset=5.9) - 2.6
        paint(values, np.clip(specks * 3, 0, 1) * (depth < 14), 0.75)
        paint(values, within(ellipsoid(points, SELLA, (6, 4.5, 3.2))), 0.62)  # the healthy gland
