"""What short vector stands for a picture, so that copies of it lie near in whatever way they were turned, rescaled or stored?

The pixels of a view are replaced by their ranks (so contrast and gamma don't matter), then by the low frequencies of the
cosine transform, weighted by the root of the frequency (anatomy all heads share is low). Mirroring and transposing a picture
only changes signs and swaps indices of such coefficients: the eight orientations cost no further look at the pixels.
"""

from __future__ import annotations

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
"""How a picture was turned, clockwise. Bit 2 of the index transposes first, then bit 1 turns the rows, bit 0 the columns."""

VIEW_SIDE = 24
"""Side in pixels of the views that are described: seven half waves across need no more."""

FREQUENCIES = 7
"""Frequencies kept along each axis: 7 parts copies from neighbouring slices and still forgives a crop of some percent."""

DARK_SHARE = 0.3
"""Share of the pixels, the darkest, that count as background: their order is noise."""


def orient(pictures: np.ndarray, orientation: int) -> np.ndarray:
    """Return pictures (..., H, W) turned into `ORIENTATIONS[orientation]`.

    >>> orient(np.array([[1, 2], [3, 4]]), ORIENTATIONS.index("rotated_90")).tolist()
    [[3, 1], [4, 2]]
    """
    turned = np.swapaxes(pictures, -1, -2) if orientation & 4 else pictures
    return turned[..., :: -1 if orientation & 2 else 1, :: -1 if orientation & 1 else 1]


def inverse(orientation: int) -> int:
    """Return the index of the orientation that turns back; only the two quarter turns aren't their own inverse."""
    return {5: 6, 6: 5}.get(orientation, orientation)


def _cosines(size: int) -> np.ndarray:
    """Return the first rows of the orthonormal DCT-II, (FREQUENCIES, size)."""
    at = (np.arange(size) + 0.5) * np.pi / size
    return np.cos(np.arange(FREQUENCIES)[:, None] * at) * np.sqrt(2 / size)


_RADIUS = np.hypot(*np.mgrid[:FREQUENCIES, :FREQUENCIES])
_KEPT = (_RADIUS > 0) & (_RADIUS < FREQUENCIES)
LENGTH = int(_KEPT.sum())
"""Numbers in a descriptor."""


def ranks(views: np.ndarray) -> np.ndarray:
    """Return the rank of each pixel in its view, (N, S, S) in [0, 1]; equal pixels share their middle rank."""
    n, pixels = len(views), views[0].size
    levels = np.clip(np.rint(views), 0, 255).astype(np.int64).reshape(n, pixels)
    counts = np.bincount((levels + 256 * np.arange(n)[:, None]).ravel(), minlength=256 * n).reshape(n, 256)
    middle = (np.cumsum(counts, axis=1) - counts / 2) / pixels
    return np.take_along_axis(middle, levels, axis=1).reshape(views.shape)


def describe(views: np.ndarray) -> np.ndarray:
    """Return one descriptor of unit length for each view.

    Args:
        views: (N, S, S), values from 0 to 255.

    Returns:
        (N, LENGTH) float32. The dot product of two is their similarity, 1 for copies.
    """
    light = np.maximum(ranks(views) - DARK_SHARE, 0).astype(np.float32)
    cosines = _cosines(views.shape[-1]).astype(np.float32)
    waves = cosines @ light @ cosines.T * np.sqrt(_RADIUS).astype(np.float32)
    found = waves[:, _KEPT]
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)


def turn(descriptors: np.ndarray, orientation: int) -> np.ndarray:
    """Return the descriptors (N, LENGTH) that the pictures would have in `ORIENTATIONS[orientation]`."""
    waves = np.zeros((len(descriptors), FREQUENCIES, FREQUENCIES), np.float32)
    waves[:, _KEPT] = descriptors
    if orientation & 4:
        waves = np.swapaxes(waves, 1, 2)
    odd = 1 - 2 * (np.arange(FREQUENCIES) % 2).astype(np.float32)
    if orientation & 2:
        waves = waves * odd[:, None]
    if orientation & 1:
        waves = waves * odd
    return np.ascontiguousarray(waves[:, _KEPT])
