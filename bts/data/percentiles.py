"""Between which values does most of a picture lie? `np.percentile` to the last bit, in a third of its time on whole numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MOST_STEPS = 1 << 16
"""Between the smallest and the largest whole number that are counted; over more, sorting is as fast."""


def percentiles(values: np.ndarray, wanted: Sequence[float]) -> np.ndarray:
    """Return (n,) the percentiles of values (H, W) float32, linear between neighbours.

    What scanners write are whole numbers, of which counting finds the one at any rank.

    >>> percentiles(np.array([[0, 1], [2, 4]], np.float32), [0, 50, 100]).tolist()
    [0.0, 1.5, 4.0]
    """
    counts, least = _counts(values)
    if counts is None:
        return np.percentile(values, wanted)
    places = (values.size - 1) * (np.asarray(wanted, np.float64) / 100)
    below = np.floor(places).astype(np.int64)
    ends = counts.cumsum()  # how many values there are up to each whole number
    low, high = (ends.searchsorted(ranks + 1) + least for ranks in (below, np.minimum(below + 1, values.size - 1)))
    share, apart = places - below, high - low
    return np.where(share < 0.5, low + apart * share, high - apart * (1 - share))  # NumPy's own two ways round


def _counts(values: np.ndarray) -> tuple[np.ndarray | None, int]:
    """Return how often each whole number from the least on occurs, and the least; None where there are others or too many."""
    least, most = float(values.min()), float(values.max())
    if not (least.is_integer() and most - least < MOST_STEPS and abs(least) < 1 << 23):  # float32 holds each of these
        return None, 0
    whole = values.astype(np.int32)
    if not np.array_equal(whole, values):
        return None, 0
    whole -= int(least)
    return np.bincount(whole.ravel()), int(least)
