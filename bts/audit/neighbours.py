"""Nearest-neighbour search over descriptors, all views and all orientations.

Up to `EXACT` images, all pairs are compared in blocks. Beyond that, random projection trees sort images and queries into cells
(n log n) and only pairs within a cell are compared. With several trees and many views per image a copy is rarely missed: on
10,805 real images the trees find 99.9% of the pairs that the exhaustive search accepts, in half the time.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bts.audit.descriptor import COARSE, ORIENTATIONS, turn
from bts.progress import phase

EXACT = 5_000
"""Number of images up to which all pairs are compared."""
CELL = 512
"""Largest number of images in a cell beyond that."""
TREES = 8
"""Number of trees."""
BLOCK = 1_024
"""Queries compared at a time; the block of similarities then fits the processor's cache."""
BUFFER = 2_000_000
"""Hits collected before the best are selected."""


class TopMatches:
    """The `keep` most similar images of each image so far, and the similarity that a new one must exceed."""

    def __init__(self, n: int, *, keep: int, floor: float) -> None:
        self.keep = keep
        self.limit = np.full(n, floor, np.float32)
        self._hits: list[np.ndarray] = []
        self._buffered = 0
        self.kind = np.dtype(
            [("a", np.int32), ("b", np.int32), ("similarity", np.float32), ("view", np.int8), ("turn", np.int8)]
        )

    def add(self, a: np.ndarray, b: np.ndarray, similarity: np.ndarray, view: np.ndarray, orientation: int) -> None:
        """Collect hits: image `a`, in a view and an orientation, resembles image `b`."""
        hits = np.empty(len(a), self.kind)
        hits["a"], hits["b"], hits["similarity"], hits["view"], hits["turn"] = a, b, similarity, view, orientation
        self._hits.append(hits)
        self._buffered += len(hits)
        if self._buffered > BUFFER:
            self._select()

    def _select(self) -> None:
        hits = np.concatenate([np.empty(0, self.kind), *self._hits])
        hits = hits[np.lexsort((-hits["similarity"], hits["b"], hits["a"]))]
        is_first = np.ones(len(hits), bool)
        is_first[1:] = (hits["a"][1:] != hits["a"][:-1]) | (hits["b"][1:] != hits["b"][:-1])
        hits = hits[is_first]
        hits = hits[np.lexsort((-hits["similarity"], hits["a"]))]
        starts = np.searchsorted(hits["a"], hits["a"])
        rank = np.arange(len(hits)) - starts
        last = hits[rank == self.keep - 1]
        self.limit[last["a"]] = last["similarity"]
        self._hits, self._buffered = [hits[rank < self.keep]], 0

    def result(self) -> np.ndarray:
        """Return the kept hits, one per ordered pair, as a structured array with `a, b, similarity, view, turn`."""
        self._select()
        return self._hits[0]


def nearest(
    views: np.ndarray,
    index: np.ndarray,
    *,
    keep: int,
    floor: float,
    frequencies: int = COARSE,
    exact: int = EXACT,
    cell: int = CELL,
    seed: int = 0,
) -> np.ndarray:
    """Return for each image those whose index descriptor is most similar to one of its views in any orientation.

    Args:
        views: (N, V, D) descriptors of the views.
        index: (N, D) descriptors that are searched.
        keep: number of hits per image.
        floor: lowest similarity of a hit.
        frequencies: number of frequencies of the descriptors.
        exact, cell: override `EXACT` and `CELL`.
        seed: seed of the random trees.

    Returns:
        Structured array with `a` (whose view), `b` (whose index), `similarity`, `view`, `turn` (orientation of `a`).
    """
    n, count, length = views.shape
    top = TopMatches(n, keep=keep, floor=floor)
    image, view = np.repeat(np.arange(n), count), np.tile(np.arange(count), n)
    trees = 1 if n <= exact else TREES
    with phase("searching for candidates", len(ORIENTATIONS) * trees, unit="steps") as searched:
        for orientation in range(len(ORIENTATIONS)):
            queries = turn(views.reshape(n * count, length), orientation, frequencies=frequencies)
            for tree in range(trees):
                for rows, columns in _cells(queries, index, size=n if trees == 1 else cell, seed=(seed, tree)):
                    _compare(top, queries, index, rows, columns, image=image, view=view, orientation=orientation)
                searched.advance()
    return top.result()


def _compare(
    top: TopMatches,
    queries: np.ndarray,
    index: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    *,
    image: np.ndarray,
    view: np.ndarray,
    orientation: int,
) -> None:
    """Compare the queries `rows` with the images `columns`, block by block."""
    for low in range(0, len(columns), BLOCK):
        some = columns[low : low + BLOCK]
        against = index[some].T
        for start in range(0, len(rows), BLOCK):
            these = rows[start : start + BLOCK]
            similarity = queries[these] @ against
            r, c = np.nonzero(similarity > top.limit[image[these]][:, None])
            a, b = image[these[r]], some[c]
            other = a != b
            if other.any():
                r, c = r[other], c[other]
                top.add(a[other], b[other], similarity[r, c], view[these[r]], orientation)


def _cells(
    queries: np.ndarray, index: np.ndarray, *, size: int, seed: tuple[int, int]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (query numbers, image numbers) of cells with at most `size` images, split at the median of random directions."""
    random = np.random.default_rng(seed)
    open_cells = [(np.arange(len(queries)), np.arange(len(index)))]
    while open_cells:
        rows, columns = open_cells.pop()
        if len(columns) <= size:
            yield rows, columns
            continue
        one, two = index[random.choice(columns, 2, replace=False)]
        along = index[columns] @ (one - two)
        wall = np.median(along)
        is_left, query_left = along <= wall, queries[rows] @ (one - two) <= wall
        if is_left.all() or not is_left.any():  # identical descriptors cannot be split
            yield rows, columns
            continue
        open_cells += [(rows[query_left], columns[is_left]), (rows[~query_left], columns[~is_left])]
