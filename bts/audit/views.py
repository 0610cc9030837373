"""Thumbnails, head detection, and the views of an image that are compared: full frame, head, and cropped heads."""

from __future__ import annotations

import itertools

import numpy as np
from PIL import Image
from scipy import ndimage

THUMB_SIDE = 96
"""Side of the thumbnail in pixels; the head is then about 60 pixels wide."""

CUT = 0.06
"""Share of the head cut off per side in the cropped views. Every subset of sides is tried, so a copy that lost up to 10% of
the head is within a few percent of one of them."""

WHOLE, HEAD = 0, 1
"""Index of the full frame and of the uncut head among the views."""

GAP = 3
"""Half the width in pixels of the dark gap (skull, fluid) to be closed between scalp and brain."""

VIEWS = 17
"""Full frame, head, and the head without `CUT` at each of the 15 non-empty subsets of its sides."""


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Return an image (H, W) of any range as (THUMB_SIDE, THUMB_SIDE) uint8, stretched to a square, outliers clipped."""
    small = Image.fromarray(np.asarray(image, np.float32)).resize((THUMB_SIDE, THUMB_SIDE), Image.Resampling.BILINEAR)
    array = np.asarray(small, np.float32)
    low, high = np.percentile(array, (0.1, 99.9))
    return np.clip(np.rint((array - low) * (255 / max(high - low, 1e-6))), 0, 255).astype(np.uint8)


def head_box(thumb: np.ndarray) -> np.ndarray:
    """Return the head's bounding box in a thumbnail as shares of its sides: (first row, last row, first column, last column).

    The head is the largest bright component after the gap between brain and scalp is closed. Edges are located to a fraction
    of a pixel, where the brightest pixels of a line cross half of their level: one pixel is already 1% of the width.
    """
    low, high = np.percentile(thumb, (2, 98))
    light = np.clip((thumb - low) / max(high - low, 1), 0, 1)
    bright = np.pad(light > 0.2, GAP)
    closed = ndimage.binary_closing(bright, iterations=GAP)[GAP:-GAP, GAP:-GAP]
    parts, count = ndimage.label(closed)
    if count == 0:
        return np.array([0.0, 1.0, 0.0, 1.0])
    largest = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    soft = np.where(ndimage.binary_dilation(largest), np.clip(light / 0.4, 0, 1), 0)
    return np.concatenate([_edges(np.sort(soft, axis=1)[:, -8:].mean(1)), _edges(np.sort(soft, axis=0)[-8:].mean(0))])


def _edges(profile: np.ndarray) -> np.ndarray:
    """Return the first and last crossing of one half by a profile, as shares of its length."""
    size, on = len(profile), np.flatnonzero(profile > 0.5)
    if len(on) == 0 or on[-1] - on[0] < size // 4:  # no head found: use the full frame
        return np.array([0.0, 1.0])
    first, last = int(on[0]), int(on[-1])
    start, stop = 0.0, float(size)
    if first > 0:
        start = first + 0.5 - (profile[first] - 0.5) / (profile[first] - profile[first - 1])
    if last < size - 1:
        stop = last + 0.5 + (profile[last] - 0.5) / (profile[last] - profile[last + 1])
    return np.array([start, stop]) / size


def view_boxes(head: np.ndarray) -> np.ndarray:
    """Return the boxes (VIEWS, 4) of an image's views, given its head box (4,)."""
    height, width = head[1] - head[0], head[3] - head[2]
    inward = np.array([height, -height, width, -width]) * CUT
    cuts = [head + inward * np.array(sides) for sides in itertools.product((0, 1), repeat=4)]
    return np.stack([np.array([0.0, 1.0, 0.0, 1.0]), *cuts])


def interpolation(start: np.ndarray, stop: np.ndarray, *, points: int, size: int = THUMB_SIDE) -> np.ndarray:
    """Return matrices (N, points, size) for linear interpolation of a line of `size` pixels at the centres of `points` cells.

    Args:
        start, stop: (N,) ends of the sampled stretch as shares of the line; outside the line the edge pixel is repeated.
        points: number of samples.
        size: number of pixels in the line.
    """
    share = (np.arange(points) + 0.5) / points
    at = (start[:, None] + (stop - start)[:, None] * share) * size - 0.5
    at = np.clip(at, 0, size - 1)[:, :, None]
    return np.maximum(0, 1 - np.abs(at - np.arange(size))).astype(np.float32)


def sample(thumbs: np.ndarray, boxes: np.ndarray, *, points: int) -> np.ndarray:
    """Return boxes (N, 4) of thumbnails (N, S, S) resampled to (N, points, points) float32, averaging 2 x 2 samples."""
    images = np.asarray(thumbs, np.float32)
    fine = points * 2
    rows = interpolation(boxes[:, 0], boxes[:, 1], points=fine, size=images.shape[1])
    columns = interpolation(boxes[:, 2], boxes[:, 3], points=fine, size=images.shape[2])
    rows = rows.reshape(len(rows), points, 2, -1).mean(2)
    columns = columns.reshape(len(columns), points, 2, -1).mean(2)
    return rows @ images @ np.swapaxes(columns, 1, 2)
