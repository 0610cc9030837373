"""What may be done to a picture's contrast and frame before the network sees it? CLAHE, sharpening, a crop to the head.

All three are off by default; a model folder says which of them its model was trained with.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

HEAD_LEVEL = 45
"""Bytes above which a smoothed pixel belongs to the head: the threshold that published brain crops share."""
SMALLEST_SHARE = 0.2
"""A head whose box is narrower or lower than this share of the picture is not believed, and nothing is cropped."""
MARGIN = 0.02
"""Share of the picture's longer side that is left around the head."""


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

    def cut(self, array: np.ndarray) -> np.ndarray:
        """Return the part of `array` (H, W) inside."""
        return array[self.top : self.bottom, self.left : self.right]


def whole(shape: tuple[int, ...]) -> Box:
    """Return the box of a whole picture."""
    return Box(0, 0, shape[0], shape[1])


def head_box(values: np.ndarray) -> Box:
    """Return the box around the largest bright piece of `values` (H, W) float in [0, 255], with a margin.

    The picture is smoothed before the threshold, so that noise joins nothing; a picture without a head of a believable size
    keeps its whole frame.
    """
    from scipy import ndimage

    height, width = values.shape
    longer = max(height, width)
    pieces, count = ndimage.label(ndimage.gaussian_filter(values, sigma=longer / 100) > HEAD_LEVEL)
    if not count:
        return whole(values.shape)
    largest = int(np.bincount(pieces.ravel())[1:].argmax())
    rows, columns = ndimage.find_objects(pieces)[largest]
    if rows.stop - rows.start < SMALLEST_SHARE * height or columns.stop - columns.start < SMALLEST_SHARE * width:
        return whole(values.shape)
    rim = round(MARGIN * longer)
    top, left = max(rows.start - rim, 0), max(columns.start - rim, 0)
    return Box(top, left, min(rows.stop + rim, height), min(columns.stop + rim, width))


def equalise(square: np.ndarray, *, clip_limit: float, tiles: int) -> np.ndarray:
    """Return (S, S) float32 in [0, 255] of `square` in the same range, its contrast limited and adapted to each tile (CLAHE).

    scikit-image's filter (Zuiderveld 1994) on `tiles` x `tiles` tiles. Its limit is a share of a tile's pixels. OpenCV counts
    in means of the histogram's 256 bins and hands out what it clips once instead of until nothing is left: its 2.0 on 8 x 8
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
