"""Which pictures could be copies of each other? For each picture the few most similar ones, over all views and orientations.

Up to `EXACT` pictures every pair is compared, in blocks: quadratic, but a pair costs few multiplications and the processor
does billions a second. Beyond that, random trees sort pictures and queries into cells (n log n) and only within a cell all
pairs are compared; several trees, and many views of each picture, make it unlikely that a copy is always behind a wall: on
10,805 real pictures they find the same accepted pairs as comparing all, but for one in a thousand, in half of the time.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bts.audit.descriptor import COARSE, ORIENTATIONS, turn

EXACT = 5_000
"""Pictures up to which every pair is compared."""
CELL = 512
"""Pictures in a cell at most, beyond that."""
TREES = 8
"""Trees of cells."""
BLOCK = 1_024
"""Queries that are compared at a time: the block of similarities then stays in the processor's cache."""
BUFFER = 2_000_000
"""Hits that are collected before the best are picked."""


class Best:
    """For each picture the `keep` most similar others so far, and above which similarity a new one matters."""

    def __init__(self, n: int, *, keep: int, floor: float) -> None:
        self.keep = keep
        self.limit = np.full(n, floor, np.float32)
        self._hits: list[np.ndarray] = []
        self._waiting = 0
        self.kind = np.dtype(
            [("a", np.int32), ("b", np.int32), ("similarity", np.float32), ("view", np.int8), ("turn", np.int8)]
        )

    def add(self, a: np.ndarray, b: np.ndarray, similarity: np.ndarray, view: np.ndarray, orientation: int) -> None:
        """Collect hits: picture `a` in a view and orientation is like picture `b`."""
        hits = np.empty(len(a), self.kind)
        hits["a"], hits["b"], hits["similarity"], hits["view"], hits["turn"] = a, b, similarity, view, orientation
        self._hits.append(hits)
        self._waiting += len(hits)
        if self._waiting > BUFFER:
            self._pick()

    def _pick(self) -> None:
        hits = np.concatenate([np.empty(0, self.kind), *self._hits])
        hits = hits[np.lexsort((-hits["similarity"], hits["b"], hits["a"]))]
        is_new = np.ones(len(hits), bool)
        is_new[1:] = (hits["a"][1:] != hits["a"][:-1]) | (hits["b"][1:] != hits["b"][:-1])
        hits = hits[is_new]
        hits = hits[np.lexsort((-hits["similarity"], hits["a"]))]
        starts = np.searchsorted(hits["a"], hits["a"])
        place = np.arange(len(hits)) - starts
        last = hits[place == self.keep - 1]
        self.limit[last["a"]] = last["similarity"]
        self._hits, self._waiting = [hits[place < self.keep]], 0

    def found(self) -> np.ndarray:
        """Return the hits kept, one for each ordered pair, as a structured array with `a, b, similarity, view, turn`."""
        self._pick()
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
    """Return, for each picture, the pictures whose index descriptor is most like one of its views, turned in any way.

    Args:
        views: (N, V, D) descriptors of the views of each picture.
        index: (N, D) descriptor under which each picture is found.
        keep: pictures kept for each one.
        floor: similarity under which nothing is kept.
        frequencies: of the descriptors.
        exact: number of pictures up to which all pairs are compared.
        cell: pictures in a cell at most, beyond that.
        seed: of the random trees.

    Returns:
        Structured array with `a` (whose view), `b` (whose index), `similarity`, `view`, `turn` (orientation of `a`).
    """
    n, count, length = views.shape
    best = Best(n, keep=keep, floor=floor)
    picture, view = np.repeat(np.arange(n), count), np.tile(np.arange(count), n)
    trees = 1 if n <= exact else TREES
    for orientation in range(len(ORIENTATIONS)):
        queries = turn(views.reshape(n * count, length), orientation, frequencies=frequencies)
        for tree in range(trees):
            for rows, columns in _cells(queries, index, size=n if trees == 1 else cell, seed=(seed, tree)):
                _compare(best, queries, index, rows, columns, picture=picture, view=view, orientation=orientation)
    return best.found()


def _compare(
    best: Best,
    queries: np.ndarray,
    index: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    *,
    picture: np.ndarray,
    view: np.ndarray,
    orientation: int,
) -> None:
    """Compare the queries `rows` with the pictures `columns`, block by block."""
    for low in range(0, len(columns), BLOCK):
        some = columns[low : low + BLOCK]
        against = index[some].T
        for start in range(0, len(rows), BLOCK):
            these = rows[start : start + BLOCK]
            similarity = queries[these] @ against
            r, c = np.nonzero(similarity > best.limit[picture[these]][:, None])
            a, b = picture[these[r]], some[c]
            other = a != b
            if other.any():
                r, c = r[other], c[other]
                best.add(a[other], b[other], similarity[r, c], view[these[r]], orientation)


def _cells(
    queries: np.ndarray, index: np.ndarray, *, size: int, seed: tuple[int, int]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (query numbers, picture numbers) of cells with at most `size` pictures, halved along random directions."""
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
        if is_left.all() or not is_left.any():  # all the same picture: no wall parts them
            yield rows, columns
            continue
        open_cells += [(rows[query_left], columns[is_left]), (rows[~query_left], columns[~is_left])]
