"""Preprocessing of a slice to the square network input, and the inverse for maps.

The square of bytes is the whole contract with the network, whatever the runtime: its input is `image / 255`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from bts.data.enhance import Box, equalise, head_box, padding_box, sharpen, whole, without_captions
from bts.errors import RequestError
from bts.fields import from_mapping, problems
from bts.settings import DataSettings, PreprocessingParams

TOLERANCE = 1e-4
"""Shares of a pixel closer than this are equal: keeps a mirrored mask's result the mirrored result."""
MOST_STEPS = 1 << 16
"""Largest range of whole numbers that `percentiles` counts; beyond it sorting is as fast."""


@dataclass(frozen=True)
class Preprocessing(PreprocessingParams):
    """Deterministic mapping from a slice to the network input and back; part of every model folder.

    CLAHE is applied before sharpening, both on the square. Maps are 0 outside of `box`.
    """

    @classmethod
    def of(cls, settings: DataSettings) -> Preprocessing:
        """Return the preprocessing that the settings ask for."""
        return cls(**{field.name: getattr(settings, field.name) for field in fields(cls)})

    def __post_init__(self) -> None:
        if found := problems(self):
            raise RequestError("; ".join(found))

    def box(self, array: np.ndarray, *, content: Box | None = None) -> Box:
        """Return the part of `array` (H, W) that the square shows: all of it but wide constant padding, or the head's box.

        `mask` and `restore` need it.

        Args:
            array: a picture.
            content: content box of a slice of a volume (`Slice.content`): all slices are cut equally, so that a small first or
                last slice is not enlarged.
        """
        return self._shown(array, content)[0]

    def _shown(self, array: np.ndarray, content: Box | None) -> tuple[Box, np.ndarray]:
        """Return the part of `array` (H, W) that the square shows, and its values with captions painted like the ground."""
        array = np.asarray(array)
        values = without_captions(array)
        box = padding_box(values) if content is None else content
        shown = box.cut(values)
        if shown.shape != array.shape:  # captions that a margin brighter than the ground hid
            shown = without_captions(shown)
        if self.crop_brain:
            head = head_box(shown)
            box, shown = head.inside(box), head.cut(shown)
        return box, shown

    def image(self, array: np.ndarray, *, content: Box | None = None) -> np.ndarray:
        """Return the network input (S, S) uint8 of an `array` (H, W) of any real type, as `image_and_box`."""
        return self.image_and_box(array, content=content)[0]

    def image_and_box(self, array: np.ndarray, *, content: Box | None = None) -> tuple[np.ndarray, Box]:
        """Return the network input (S, S) uint8 of an `array` (H, W) of any real type, and the part that it shows, as `box`.

        The window between the two percentiles becomes [0, 255], the shorter side is padded with its low end to a square,
        and the square is scaled with an antialiasing triangle filter in floating point, rounded once at the end. Captions are
        painted and the crop is made before the window, so that neither they nor margins change the intensities; CLAHE and
        sharpening come after the scaling.
        """
        box, shown = self._shown(array, content)
        square = _resize_square(_window(shown, self.low_percentile, self.high_percentile), self.size)
        if self.clahe_clip_limit:
            square = equalise(square, clip_limit=self.clahe_clip_limit, tiles=self.clahe_tiles)
        if self.sharpen_amount:
            square = sharpen(square, amount=self.sharpen_amount, sigma_px=self.sharpen_sigma_px)
        return np.rint(square).clip(0, 255).astype(np.uint8), box

    def mask(self, array: np.ndarray, *, box: Box | None = None) -> np.ndarray:
        """Return the mask (S, S) bool of a mask `array` (H, W); `box` is the picture's, where the preprocessing crops.

        A pixel is inside if at least half of its area is covered. If none reaches a half, those covered most are kept, so
        that a mask of one pixel survives.
        """
        array = np.asarray(array, dtype=bool)
        array = array if box is None else box.cut(array)
        side = max(array.shape)
        rows, columns = (_bands(length, side=side, size=self.size) for length in array.shape)
        covered = rows @ array.astype(np.float32) @ columns.T  # (S, S) share of each pixel's area
        peak = float(covered.max())
        if peak <= TOLERANCE:
            return np.zeros((self.size, self.size), dtype=bool)
        return covered >= min(0.5, peak) - TOLERANCE

    def restore(
        self, values: np.ndarray, shape: tuple[int, int], *, offset_px: float = 0.0, box: Box | None = None
    ) -> np.ndarray:
        """Return a map of the network's square as (H, W) float32 on the picture of that `shape`, bilinear.

        Args:
            values: (S, S), or coarser (h, h) with cells that fill the square evenly.
            shape: rows and columns of the picture.
            offset_px: pixels of the square by which every cell really lies further down and right (see
                `bts.models.alignment`); at the borders the outermost cells are continued.
            box: the picture's, where the preprocessing crops; the map is 0 outside of it.
        """
        if box is not None and box != whole(shape):
            found = np.zeros(shape, dtype=np.float32)
            box.cut(found)[...] = self.restore(values, box.shape, offset_px=offset_px)
            return found
        values = np.ascontiguousarray(values, dtype=np.float32)
        height, width = shape
        cells = values.shape[0]
        ratio, offset = cells / max(height, width), offset_px * cells / self.size
        rim = math.ceil(abs(offset))
        values = np.pad(values, rim, mode="edge") if rim else values
        start = rim - offset
        top, left = start + (max(shape) - height) / 2 * ratio, start + (max(shape) - width) / 2 * ratio
        frame = (left, top, left + width * ratio, top + height * ratio)
        picture = Image.fromarray(values)
        return np.array(picture.resize((width, height), Image.Resampling.BILINEAR, box=frame))

    def to_dict(self) -> dict[str, float]:
        """Return all fields by name, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """Restore what `to_dict` returned; raises `RequestError` for unknown, missing and wrong fields."""
        return from_mapping(cls, values, "preprocessing", complete=True)


def _window(array: np.ndarray, low_percentile: float, high_percentile: float) -> np.ndarray:
    """Return (H, W) float32 in [0, 255]; a picture with nothing between the percentiles uses its whole range."""
    values = np.asarray(array, dtype=np.float32)
    low, high = (float(value) for value in percentiles(values, [low_percentile, high_percentile]))
    if high <= low:  # a few bright pixels on an even ground
        low, high = float(values.min()), float(values.max())
    if high <= low:
        return np.zeros(values.shape, dtype=np.float32)
    scaled = values - np.float32(low)  # in place from here: this runs for every slice
    scaled *= np.float32(255.0 / (high - low))
    return np.clip(scaled, 0.0, 255.0, out=scaled)


def _resize_square(values: np.ndarray, size: int) -> np.ndarray:
    """Return (S, S) float32 of `values` (H, W) float32, padded with 0 around its centre to a square before."""
    height, width = values.shape
    side = max(height, width)
    rows, columns = side - height, side - width
    # The box takes half pixels of padding (an odd difference), so that the centre is kept.
    padded = np.pad(values, [((rows + 1) // 2,) * 2, ((columns + 1) // 2,) * 2])
    top, left = (padded.shape[0] - side) / 2, (padded.shape[1] - side) / 2
    picture = Image.fromarray(np.ascontiguousarray(padded))
    box = (left, top, left + side, top + side)
    return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR, box=box))


@lru_cache(maxsize=8)
def _bands(length: int, *, side: int, size: int) -> np.ndarray:
    """Return (S, H) float32: which share of each of S equal bands over `side` lies in each of H pixels around its centre.

    Exact where a band ends inside of a pixel. Pillow's box filter takes each pixel whole or not at all, which from 512 to 224
    pixels makes masks 1.4% larger.
    """
    edges = np.arange(size + 1) * side / size - (side - length) / 2
    pixel = np.arange(length)
    shared = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    return (shared.clip(min=0) * size / side).astype(np.float32)


def percentiles(values: np.ndarray, wanted: Sequence[float]) -> np.ndarray:
    """Return the percentiles (n,) of `values` (H, W) float32, linear between neighbours.

    Equal to `np.percentile` to the last bit. Scanners write whole numbers, for which counting takes a third of the time.

    >>> percentiles(np.array([[0, 1], [2, 4]], np.float32), [0, 50, 100]).tolist()
    [0.0, 1.5, 4.0]
    """
    counts, least = _counts(values)
    if counts is None:
        return np.percentile(values, wanted)
    places = (values.size - 1) * (np.asarray(wanted, np.float64) / 100)
    below = np.floor(places).astype(np.int64)
    ends = counts.cumsum()  # number of values up to each whole number
    low, high = (ends.searchsorted(ranks + 1) + least for ranks in (below, np.minimum(below + 1, values.size - 1)))
    share, apart = places - below, high - low
    return np.where(share < 0.5, low + apart * share, high - apart * (1 - share))  # the two cases of NumPy's own interpolation


def _counts(values: np.ndarray) -> tuple[np.ndarray | None, int]:
    """Return the count of each whole number from the smallest on, and the smallest; None for fractions or too wide a range."""
    least, most = float(values.min()), float(values.max())
    if not (least.is_integer() and most - least < MOST_STEPS and abs(least) < 1 << 23):  # float32 holds each of these
        return None, 0
    whole = values.astype(np.int32)
    if not np.array_equal(whole, values):
        return None, 0
    whole -= int(least)
    return np.bincount(whole.ravel()), int(least)
