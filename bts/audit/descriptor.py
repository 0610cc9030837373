"""Image descriptors that are robust to contrast, scale and compression, and rotate with the image.

Pixels are replaced by their ranks, which removes contrast and gamma, and then by the low frequencies of the discrete cosine
transform, weighted by the square root of the frequency because the anatomy that all heads share is low-frequency. Flips and
transpositions only change signs and swap indices of the coefficients, so the eight orientations need no further image access.
"""

from __future__ import annotations

import functools

import numpy as np

ORIENTATIONS = (
    "upright",
    "mirrored",
    "upside_down",
    "rotated_180",
    "transposed",
    "rotated_90",
    "rotated_270",
    "anti_transposed",
)
"""Orientations, clockwise. Bit 2 of the index transposes first, then bit 1 reverses the rows and bit 0 the columns."""

VIEW_SIDE = 24
"""Side in pixels of the views: enough for seven half waves."""

COARSE, FINE = 7, 12
"""Frequencies kept per axis: 7 tolerate a box that is a few percent off, 12 separate neighbouring slices in one frame."""

DARK_SHARE = 0.3
"""Share of the darkest pixels, treated as background because their order is noise."""


def orient(images: np.ndarray, orientation: int) -> np.ndarray:
    """Return images (..., H, W) in `ORIENTATIONS[orientation]`.

    >>> orient(np.array([[1, 2], [3, 4]]), ORIENTATIONS.index("rotated_90")).tolist()
    [[3, 1], [4, 2]]
    """
    turned = np.swapaxes(images, -1, -2) if orientation & 4 else images
    return turned[..., :: -1 if orientation & 2 else 1, :: -1 if orientation & 1 else 1]


@functools.cache
def compose(first: int, then: int) -> int:
    """Return the orientation that equals two applied in a row.

    >>> ORIENTATIONS[compose(ORIENTATIONS.index("rotated_90"), ORIENTATIONS.index("rotated_90"))]
    'rotated_180'
    """
    square = np.arange(4).reshape(2, 2)
    wanted = orient(orient(square, first), then)
    return next(each for each in range(len(ORIENTATIONS)) if np.array_equal(orient(square, each), wanted))


def inverse(orientation: int) -> int:
    """Return the orientation that undoes another; only the quarter turns are not their own inverse."""
    return {5: 6, 6: 5}.get(orientation, orientation)


@functools.cache
def _waves(frequencies: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the first rows of the orthonormal DCT-II (F, size), the weights (F, F) and which coefficients are kept (F, F)."""
    at = (np.arange(size) + 0.5) * np.pi / size
    cosines = np.cos(np.arange(frequencies)[:, None] * at) * np.sqrt(2 / size)
    radius = np.hypot(*np.mgrid[:frequencies, :frequencies])
    return cosines.astype(np.float32), np.sqrt(radius).astype(np.float32), (radius > 0) & (radius < frequencies)


def ranks(views: np.ndarray) -> np.ndarray:
    """Return the rank of each pixel within its view, (N, S, S) in [0, 1]; ties share their middle rank."""
    n, pixels = len(views), views[0].size
    levels = np.clip(np.rint(views), 0, 255).astype(np.int64).reshape(n, pixels)
    counts = np.bincount((levels + 256 * np.arange(n)[:, None]).ravel(), minlength=256 * n).reshape(n, 256)
    middle = (np.cumsum(counts, axis=1) - counts / 2) / pixels
    return np.take_along_axis(middle, levels, axis=1).reshape(views.shape)


def describe(views: np.ndarray, *, frequencies: int = COARSE) -> np.ndarray:
    """Return one unit-length descriptor per view.

    Args:
        views: (N, S, S), values from 0 to 255.
        frequencies: number kept per axis.

    Returns:
        (N, D) float32; the dot product of two is their similarity, 1 for copies.
    """
    cosines, weights, kept = _waves(frequencies, views.shape[-1])
    light = np.maximum(ranks(views) - DARK_SHARE, 0).astype(np.float32)
    found = (cosines @ light @ cosines.T * weights)[:, kept]
    length = np.linalg.norm(found, axis=1, keepdims=True)
    return np.where(length > 1e-3, found / np.maximum(length, 1e-3), 0).astype(np.float32)  # a constant view matches nothing


def turn(descriptors: np.ndarray, orientation: int, *, frequencies: int = COARSE) -> np.ndarray:
    """Return the descriptors (N, D) that the images would have in `ORIENTATIONS[orientation]`."""
    kept = _waves(frequencies, VIEW_SIDE)[2]
    waves = np.zeros((len(descriptors), frequencies, frequencies), np.float32)
    waves[:, kept] = descriptors
    if orientation & 4:
        waves = np.swapaxes(waves, 1, 2)
    odd = 1 - 2 * (np.arange(frequencies) % 2).astype(np.float32)
    if orientation & 2:
        waves = waves * odd[:, None]
    if orientation & 1:
        waves = waves * odd
    return waves[:, kept]
