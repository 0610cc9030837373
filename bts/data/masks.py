"""Binary masks from what files hold: labels, palettes, colours, an alpha channel, soft maps, lossy and interpolated edges.

Every mask of every source passes through `to_mask`; `bts.data.sources.mask_files` reduces a file to one value per pixel before.
The rule: background is 0 (black, transparent), and any other label is tumour. Values between 0 and the top that occur only
along edges, and soft maps, are cut at half of their range. What could be read in two ways is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bts.errors import InputError

SMALL = 16
"""Whole numbers up to this are label numbers, however many there are."""
FEW = 16
"""Most distinct values, or colours, that are looked at as labels."""
NOISE = 8
"""Largest value, of 255, that a lossy format leaves in the background of an area that is constant otherwise."""
LABEL_SHARE = 0.5
"""Share of the pixels between background and top that lie near one value, above which that value is a label."""
MOST_PIECES = 30
"""Most separate pieces of a mask that is cut at half; 3 where `SCAN_SHARE` of the picture or more is grey: a scan has more."""
SCAN_SHARE = 0.2
RANGES = (255, 65535)
"""Ranges of whole numbers: 8 and 16 bits."""
LABELS_SETTING = "name the labels of the tumour with data.mask_labels"
EXPECTED = f"store 0 for background and one value for tumour, or {LABELS_SETTING}"


def to_mask(values: np.ndarray, *, labels: Sequence[int] = (), is_lossy: bool = False) -> np.ndarray:
    """Return the tumour in an array (H, W) of numbers as (H, W) bool.

    Args:
        values: 0 is background.
        labels: values that are tumour; empty for all but 0.
        is_lossy: the values went through JPEG, so that few of them are exact.

    Raises:
        InputError: NaN, values below 0, no background, labels with soft values, or values that can be read in two ways.

    >>> to_mask(np.array([[0, 2, 4]])).tolist(), to_mask(np.array([[0, 2, 4]]), labels=[4]).tolist()
    ([[False, True, True]], [[False, False, True]])
    >>> to_mask(np.array([[0.0, 0.2, 0.8, 1.0]])).tolist()
    [[False, False, True, True]]
    """
    values = np.asarray(values)
    if values.ndim != 2 or values.dtype.kind not in "buif":
        raise InputError(f"a mask of shape {values.shape} and type {values.dtype}: expected rows and columns of numbers")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InputError("the mask holds NaN or infinite values: expected 0 for background")
    if values.dtype.kind == "b":
        values = values.astype(np.uint8)
    distinct, counts = _distinct(values)
    least, most = distinct[0], distinct[-1]
    is_whole = bool((distinct == np.round(distinct)).all())
    if least < 0:
        raise InputError(f"mask values from {least:g} to {most:g}: expected 0 for background and none below: {EXPECTED}")
    if labels:
        if not is_whole:
            raise InputError(f"a soft mask ({_shown(distinct)}) beside data.mask_labels: expected whole numbers, or no labels")
        return np.isin(values, np.asarray(labels))
    if most == 0:
        return np.zeros(values.shape, bool)
    if least > (0 if is_whole and most <= SMALL else most / 8):
        raise InputError(f"no pixel of the mask is 0 or black ({_shown(distinct)}), so its background is unknown: {EXPECTED}")
    if is_lossy and most < 2 * SMALL:
        raise InputError(f"a JPEG mask of values up to {most:g}, which may be noise: export it as PNG")
    if least == 0 and (len(distinct) == 2 or (is_whole and most <= SMALL)):
        return values > 0
    if least == 0 and is_whole and not is_lossy and len(distinct) <= FEW + 1 and _has_label_areas(values, distinct):
        return values > 0
    return _cut(values, distinct, counts, is_whole=is_whole)


def describe_values(values: np.ndarray) -> str:
    """Return the values of a mask in a few words.

    >>> describe_values(np.array([[0, 2, 4]])), describe_values(np.linspace(0, 1, 50))
    ('0, 2, 4', '0 to 1, 50 different')
    """
    return _shown(_distinct(np.asarray(values))[0])


def _distinct(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct values in order, and the number of pixels of each."""
    if values.dtype == np.uint8:
        counts = np.bincount(values.ravel(), minlength=256)  # many times faster than sorting
        there = np.flatnonzero(counts)
        return there, counts[there]
    return np.unique(values, return_counts=True)


def _shown(distinct: np.ndarray) -> str:
    if len(distinct) <= 8:
        return ", ".join(f"{value:g}" for value in distinct)
    return f"{distinct[0]:g} to {distinct[-1]:g}, {len(distinct)} different"


def _has_label_areas(values: np.ndarray, distinct: np.ndarray) -> bool:
    """Return whether values below the top fill areas, as labels do, and do not only lie along edges.

    Raises:
        InputError: some do and some do not, of more than a few.
    """
    most = distinct[-1]
    is_noisy = most > 127 and (distinct >= most * 15 / 16).sum() > 1
    below = [value for value in distinct[1:] if value < most * 7 / 8]
    below = [value for value in below if not (is_noisy and value <= NOISE)]
    areas = [value for value in below if _is_area(values, value)]
    if areas and len(areas) < len(below) and len(distinct) > 5:
        raise InputError(
            f"mask values {_shown(distinct)}: some fill areas as labels do, others lie along edges as after a resize: "
            f"resize masks without interpolation, or {LABELS_SETTING}"
        )
    return bool(areas)


def _is_area(values: np.ndarray, value: float) -> bool:
    """Return whether a value fills 3 x 3 pixels, or two pixels or more with nothing but background around them."""
    from scipy import ndimage

    here = values == value
    if ndimage.binary_erosion(here, np.ones((3, 3))).any():
        return True
    pieces, count = ndimage.label(values > 0, np.ones((3, 3)))
    if not count:
        return False
    numbers = np.arange(1, count + 1)
    sizes = ndimage.sum_labels(np.ones(values.shape), pieces, numbers)
    return bool(((ndimage.sum_labels(here, pieces, numbers) == sizes) & (sizes > 1)).any())


def _cut(values: np.ndarray, distinct: np.ndarray, counts: np.ndarray, *, is_whole: bool) -> np.ndarray:
    """Return the values above half of their range; raises `InputError` where they are no soft map and no mask with edges."""
    from scipy import ndimage

    top = _top_level(distinct, counts)
    is_between = (distinct > top / 8) & (distinct < top * 7 / 8)
    between, high = int(counts[is_between].sum()), int(counts[distinct >= top * 7 / 8].sum())
    if is_whole and _has_level(values, distinct[is_between], counts[is_between], reach=top / 24):
        raise InputError(
            f"mask values {_shown(distinct)}, which fill areas as labels do and are not exact: export the labels as PNG "
            f"without interpolation, or {LABELS_SETTING}"
        )
    mask = values >= (top if between <= high else _full_range(distinct, is_whole=is_whole)) / 2
    pieces = ndimage.label(mask, np.ones((3, 3)))[1]
    if pieces > (MOST_PIECES if between < SCAN_SHARE * values.size else 3):
        raise InputError(f"mask values {_shown(distinct)} in {pieces} pieces when cut at half: is it a scan? {EXPECTED}")
    return mask


def _top_level(distinct: np.ndarray, counts: np.ndarray) -> float:
    """Return the value of the brightest areas: that with most pixels near it, in the upper half; JPEG overshoots it."""
    most = float(distinct[-1])
    upper, amounts = distinct[distinct > most / 2], counts[distinct > most / 2]
    candidates = _sampled(upper)
    near = [int(amounts[np.abs(upper - value) <= most / 32].sum()) for value in candidates]
    best = int(np.argmax(near))
    return float(candidates[best]) if near[best] > int(amounts.sum()) / 2 else most


def _has_level(values: np.ndarray, between: np.ndarray, counts: np.ndarray, *, reach: float) -> bool:
    """Return whether most pixels between background and top are within `reach` of one value and fill areas, as a label does."""
    from scipy import ndimage

    if not len(between):
        return False
    sampled = _sampled(between)
    near = [int(counts[np.abs(between - value) <= reach].sum()) for value in sampled]
    best = int(np.argmax(near))
    if near[best] <= LABEL_SHARE * int(counts.sum()):
        return False
    return bool(ndimage.binary_erosion(np.abs(values.astype(float) - sampled[best]) <= reach, np.ones((3, 3))).any())


def _sampled(values: np.ndarray) -> np.ndarray:
    """Return at most 256 of the values, evenly spread."""
    return values[:: -(-len(values) // 256)] if len(values) > 256 else values


def _full_range(distinct: np.ndarray, *, is_whole: bool) -> float:
    """Return the range of a soft map: 1, 255 or 65535."""
    most = float(distinct[-1])
    full = 1.0 if not is_whole and most <= 1 else next((top for top in RANGES if top / 2 < most <= top), None)
    if full is None or most < full / 2:
        raise InputError(f"a soft mask of an unknown range ({_shown(distinct)}): expected 0 to 1, or 0 to 255: {EXPECTED}")
    return float(full)
