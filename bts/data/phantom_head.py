"""What does a phantom look like? A synthetic head with or without a tumour, drawn from a seed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.ndimage import gaussian_filter


def draw_slices(
    *, label: str, n_slices: int, side: int, seed: tuple[int, ...], scan: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield image (side, side) uint16 and mask (side, side) bool of each slice of one patient.

    Args:
        label: class name; healthy slices have an empty mask.
        n_slices: neighbouring slices, which look alike.
        side: rows and columns.
        seed: equal seeds give the same head and tumour.
        scan: number of the examination; another scan of a head is cut and lit a little differently.
    """
    random = np.random.default_rng([*seed, scan])
    row, column = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    turn = random.uniform(0, 2 * np.pi)
    for number in range(n_slices):
        shrink = 1 - 0.03 * number
        head = np.hypot(row / 0.85 / shrink, column / 0.68 / shrink)
        image = 0.35 * (head < 1) + 0.5 * ((head < 1) & (head > 0.93)) - 0.3 * ((head < 0.93) & (head > 0.87))
        image += 0.1 * gaussian_filter(random.standard_normal((side, side)), side / 40) * side / 40 * (head < 0.87)
        far, radius = {"meningioma": (0.72, 0.14), "glioma": (0.35, 0.2), "pituitary": (0.0, 0.08)}.get(label, (0.0, 0.0))
        up, across = (far * 0.85 * np.sin(turn), far * 0.68 * np.cos(turn)) if far else (0.3, 0.0)
        distance = np.hypot(row - up, column - across) + 0.03 * np.cos(5 * np.arctan2(row - up, column - across))
        mask = (distance < radius * shrink) & (head < 0.87) & (radius > 0)
        image = np.where(mask, 0.9, image)
        image = np.where(mask & (distance < radius * 0.6), 0.2 if label == "glioma" else 0.9, image)
        image = np.hypot(image + 0.02 * random.standard_normal(image.shape), 0.02 * random.standard_normal(image.shape))
        yield np.round(image / image.max() * random.integers(800, 4000)).astype(np.uint16), mask
