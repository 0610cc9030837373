"""Preprocessing that finds its way: captions, margins and the box of the head; and optional CLAHE and sharpening.

The model folder records whether its model was trained with the crop to the head, CLAHE and sharpening.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

SMALLEST_SHARE = 0.1
"""A head whose box is smaller than this share of the picture in either direction is an artefact, and nothing is cropped."""
PADDED_SHARE, SMALLEST_CONTENT = 0.68, 0.2
"""Shares of the longer side between which what lies inside of a constant border is cut out; at least 0.94 in figshare, 0.78 in
BRISC, and 0.64 in 99 of 100 slices of the Kaggle set."""
FRAME_STEP, FILLED_SHARE = 32, 0.94
"""Scanners reconstruct squares of whole multiples of this number of pixels; a frame that the content fills by this share of its
side, as in figshare, is shown whole after its margins are cut off."""
COARSE_SIDE = 160
"""The head is located in blocks of pixels, at least this many along its longer side, which is six times as fast."""
FIRST_LEVEL, LEVEL = 0.15, 0.3
"""Threshold of the head above the background: first as a share of the range, then of the median of the head found."""
EDGE_SHARE = 0.5
"""A border is constant if at least this share of the outermost pixels has one value."""
CAPTION_LEVEL = 0.3
"""A caption is brighter than this share of the head's median."""
DARK_LEVEL, INK_LEVEL, FLAT_LEVEL = 0.15, 0.5, 0.9
"""Thresholds of ground, ink and flat ink within a caption, as shares of its brightest pixel."""
LEAST_INK, FLAT_SHARE, THIN_SHARE = 20, 0.4, 0.9
"""A caption has at least so many pixels of ink, of which these shares are flat, and near the ground. Of letters drawn into 30
figshare slices 0.56 to 0.80 are flat, of what lies apart from the head in 300 of them at most 0.22."""
REACH = 170
"""No pixel of a caption's strokes is farther from the ground than a 170th of the longer side, and the head is at least twice as
far: 3 and 6 pixels of 512."""


class Box(NamedTuple):
    """Rows and columns of a picture, the ends not included."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns inside."""
        return self.bottom - self.top, self.right - self.left

    def inside(self, other: Box) -> Box:
        """Return the box in the picture of which `other` was cut out, for a box in the cut."""
        return Box(self.top + other.top, self.left + other.left, self.bottom + other.top, self.right + other.left)

    def cut(self, array: np.ndarray) -> np.ndarray:
        """Return the part of `array` (H, W) inside."""
        return array[self.top : self.bottom, self.left : self.right]


def whole(shape: tuple[int, ...]) -> Box:
    """Return the box of a whole picture."""
    return Box(0, 0, shape[0], shape[1])


def head_box(values: np.ndarray) -> Box:
    """Return the box around the head in `values` (H, W) of any range.

    The head is the largest bright component after smoothing. Smoothing and threshold are taken from the head that a first
    pass finds, not from the picture, so neither the width of a margin nor the intensity scale changes the box. A constant
    border that is not dark is cut off first. No margin is left around the head, as a head that touches the border of its
    picture has none. A picture without a head of plausible size is not cropped.
    """
    values = np.asarray(values, dtype=np.float32)
    everything, edge = whole(values.shape), _edge_value(values)
    if edge is not None and edge > values.min() + FIRST_LEVEL * np.ptp(values):
        content = _content_box(values != edge)
        if content is not None and content != everything:
            return head_box(content.cut(values)).inside(content)
    found = _largest_component(values, everything, longer=max(values.shape), level=None)
    if found is None:
        return everything
    for _ in range(2):
        box, level = found
        longer = max(box.shape)
        found = _largest_component(values, _grown(box, longer // 4, values.shape), longer=longer, level=level)
        if found is None:
            return everything
    box, _ = found
    height, width = values.shape
    if box.bottom - box.top < SMALLEST_SHARE * height or box.right - box.left < SMALLEST_SHARE * width:
        return everything
    return box


def padding_box(values: np.ndarray) -> Box:
    """Return the box of `values` (H, W) without a constant border, where that border is far wider than pictures have it.

    All four corners must have the value of the border. Of a frame that was padded alike on all sides, its own dark edge is kept
    too (`FRAME_STEP`). The border is kept where the content fills at least `PADDED_SHARE` of the longer side, as in the public
    sets, and where the content is so small that it may be the edge of a head, or has one value only.
    """
    values = np.asarray(values)
    everything, edge = whole(values.shape), _edge_value(values)
    corners = values[[0, 0, -1, -1], [0, -1, 0, -1]]
    box = _content_box(values != edge) if edge is not None and (corners == edge).all() else None
    if box is None:
        return everything
    share = max(box.shape) / max(values.shape)
    if not SMALLEST_CONTENT <= share < PADDED_SHARE or np.ptp(box.cut(values)) == 0:
        return everything
    return _frame(box, values.shape)


def _frame(box: Box, shape: tuple[int, ...]) -> Box:
    """Return the frame that was padded on all sides alike to a picture of that shape, or the box of its content."""
    height, width = shape
    reach = max(height - 2 * box.top, 2 * box.bottom - height, width - 2 * box.left, 2 * box.right - width)
    side = -(-reach // FRAME_STEP) * FRAME_STEP
    if side > min(shape) or max(box.shape) < FILLED_SHARE * side:
        return box
    top, left = (height - side) // 2, (width - side) // 2
    return Box(top, left, top + side, left + side)


def _edge_value(values: np.ndarray) -> float | None:
    """Return the value that most of the outermost pixels have, or None where there is none."""
    edge = np.concatenate([values[0], values[-1], values[1:-1, 0], values[1:-1, -1]])
    middle = np.partition(edge, edge.size // 2)[edge.size // 2]  # a value of more than half of them is their median
    return float(middle) if (edge == middle).mean() > EDGE_SHARE else None


def _content_box(content: np.ndarray) -> Box | None:
    rows, columns = (np.flatnonzero(content.any(axis=axis)) for axis in (1, 0))
    return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1) if rows.size else None


def without_captions(values: np.ndarray) -> np.ndarray:
    """Return `values` (H, W) with burned-in captions outside of the head painted like the ground around them.

    A caption is a group of bright pixels apart from the head, most of which have one brightness; tissue, noise and ghosts have
    many. Values without a caption are returned as they are.
    """
    from scipy import ndimage

    values = np.asarray(values)
    edge = _edge_value(values)
    step = max(1, max(values.shape) // COARSE_SIDE)
    above = np.asarray(values, np.float32) if edge is None else np.abs(values.astype(np.float32) - np.float32(edge))
    mean = np.asarray(Image.fromarray(np.ascontiguousarray(above)).reduce(step))
    ground, top = (float(value) for value in np.percentile(mean, [2, 99]))
    tissue = mean[mean > ground + FIRST_LEVEL * (top - ground)]
    if not tissue.size:
        return values
    bright = _block_maxima(above, step) > ground + CAPTION_LEVEL * (float(np.median(tissue)) - ground)
    reach = max(2, max(values.shape) // REACH)
    joined = ndimage.binary_dilation(bright, np.ones((3, 3)), iterations=max(1, round(reach / step)))
    pieces, count = ndimage.label(joined, np.ones((3, 3)))
    if count < 2:
        return values
    largest = int(np.bincount(pieces.ravel())[1:].argmax()) + 1
    found = [
        number
        for number, (rows, columns) in enumerate(ndimage.find_objects(pieces), start=1)
        if number != largest
        and _is_caption(above[rows.start * step : rows.stop * step, columns.start * step : columns.stop * step], ground, reach)
    ]
    if not found:
        return values
    captions = np.isin(pieces, found) & ~ndimage.binary_fill_holes(pieces == largest)
    height, width = values.shape
    there = captions.repeat(step, axis=0).repeat(step, axis=1)[:height, :width]
    if not there.any():
        return values
    around = above <= np.median(above[there])  # half of it at most is ink
    return np.where(there, np.median(values[there & around]), values).astype(values.dtype)


def _is_caption(above: np.ndarray, ground: float, reach: int) -> bool:
    """Return whether the bright pixels of a piece are strokes of one brightness on a dark ground, as ink is."""
    from scipy import ndimage

    height = float(above.max()) - ground
    ink = above > ground + INK_LEVEL * height
    if ink.sum() < LEAST_INK or float((above[ink] > ground + FLAT_LEVEL * height).mean()) < FLAT_SHARE:
        return False
    near = ndimage.binary_dilation(above < ground + DARK_LEVEL * height, np.ones((3, 3)), iterations=reach)
    return float(near[ink].mean()) >= THIN_SHARE


def _block_maxima(values: np.ndarray, step: int) -> np.ndarray:
    """Return the largest value of each block of `step` x `step` pixels, those at the end smaller."""
    height, width = values.shape
    full = np.pad(values, ((0, -height % step), (0, -width % step)), mode="edge")
    rows = np.maximum.reduce([full[start::step] for start in range(step)])
    return np.maximum.reduce([rows[:, start::step] for start in range(step)])


def _grown(box: Box, rim: int, shape: tuple[int, ...]) -> Box:
    top, left = max(box.top - rim, 0), max(box.left - rim, 0)
    return Box(top, left, min(box.bottom + rim, shape[0]), min(box.right + rim, shape[1]))


def _largest_component(values: np.ndarray, within: Box, *, longer: int, level: float | None) -> tuple[Box, float] | None:
    """Return the box of the largest component above the threshold inside of a box, and the threshold of the next pass."""
    from scipy import ndimage

    step = max(1, longer // COARSE_SIDE)
    coarse = np.asarray(Image.fromarray(np.ascontiguousarray(within.cut(values))).reduce(step))
    smooth = ndimage.gaussian_filter(coarse, sigma=longer / step / 100, mode="nearest")
    ground = float(np.percentile(smooth, 2))
    if level is None:
        level = ground + FIRST_LEVEL * (float(np.percentile(smooth, 99)) - ground)
    inside = smooth > level
    pieces, count = ndimage.label(inside)
    if not count:
        return None
    largest = int(np.bincount(pieces.ravel())[1:].argmax())
    rows, columns = ndimage.find_objects(pieces)[largest]
    typical = float(np.median(smooth[pieces == largest + 1]))
    top, left = within.top, within.left
    box = Box(
        top + step * rows.start,
        left + step * columns.start,
        min(top + step * rows.stop, within.bottom),
        min(left + step * columns.stop, within.right),
    )
    return box, ground + LEVEL * (typical - ground)


def equalise(square: np.ndarray, *, clip_limit: float, tiles: int) -> np.ndarray:
    """Return (S, S) float32 in [0, 255] of `square` in the same range, its contrast limited and adapted to each tile (CLAHE).

    scikit-image's filter (Zuiderveld 1994) on `tiles` x `tiles` tiles. Its limit is a share of a tile's pixels. OpenCV counts
    in means of the histogram's 256 bins and redistributes the clipped part once instead of repeatedly: its 2.0 on 8 x 8
    tiles of 28 pixels is nearest to 0.01 here (2 to 5 grey values of 255 apart, on average over a slice).
    """
    from skimage.exposure import equalize_adapthist

    if square.max() <= square.min():
        return square
    values = np.rint(square).clip(0, 255).astype(np.uint8)
    equal = equalize_adapthist(values, kernel_size=max(2, square.shape[0] // tiles), clip_limit=clip_limit)
    return (equal * 255).astype(np.float32)


def sharpen(square: np.ndarray, *, amount: float, sigma_px: float) -> np.ndarray:
    """Return (1 + amount) times the `square` less `amount` times its Gaussian blur, within [0, 255].

    With an amount of 0.5 that is the weighted sum of 1.5 and -0.5 which published notebooks write.
    """
    from scipy import ndimage

    blurred = ndimage.gaussian_filter(square, sigma=sigma_px, mode="mirror")  # OpenCV's default border
    return ((1 + amount) * square - amount * blurred).clip(0, 255).astype(np.float32)
