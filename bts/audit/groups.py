"""Which pictures belong together, and how is one of a group turned against another?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bts.audit.descriptor import compose, inverse
from bts.audit.matches import Match


@dataclass(frozen=True)
class Link:
    """How a picture hangs together with the one it was reached from.

    Attributes:
        picture: position of the picture in the collection.
        start: position of the picture that it was reached from.
        orientation: index into `ORIENTATIONS`; turning `start` so gives `picture`.
        score: correlation of aligned detail, of the weakest step where other copies lie between.
        steps: matches between the two; 0 for the start itself.
    """

    picture: int
    start: int
    orientation: int = 0
    score: float = 1.0
    steps: int = 0


def spread(matches: Iterable[Match], starts: Iterable[int]) -> dict[int, Link]:
    """Return how each picture hangs together with one of `starts`: in the fewest steps, and of those at the best score."""
    edges: dict[int, list[tuple[int, int, float]]] = defaultdict(list)
    for match in matches:
        edges[match.one].append((match.other, match.orientation, match.score))
        edges[match.other].append((match.one, inverse(match.orientation), match.score))
    found = {i: Link(picture=i, start=i) for i in starts}
    latest = dict(found)
    while latest:
        reached: dict[int, Link] = {}
        for link in latest.values():
            for other, orientation, score in edges[link.picture]:
                if other in found:
                    continue
                new = Link(
                    picture=other,
                    start=link.start,
                    orientation=compose(link.orientation, orientation),
                    score=min(link.score, score),
                    steps=link.steps + 1,
                )
                if other not in reached or new.score > reached[other].score:
                    reached[other] = new
        found |= reached
        latest = reached
    return found


def group_numbers(n: int, matches: Iterable[Match]) -> np.ndarray:
    """Return for each of `n` pictures the first picture of its group: everything that matches, directly or in a chain.

    >>> group_numbers(5, [Match(0, 3, "near"), Match(3, 4, "bytes")]).tolist()
    [0, 1, 2, 0, 0]
    """
    parent = list(range(n))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for match in matches:
        one, other = root(match.one), root(match.other)
        parent[max(one, other)] = min(one, other)
    return np.array([root(i) for i in range(n)], dtype=np.int64)


def members(groups: np.ndarray) -> list[list[int]]:
    """Return the groups of more than one picture, each in order."""
    order = np.argsort(groups, kind="stable")
    edges = np.flatnonzero(np.diff(groups[order])) + 1
    return [each.tolist() for each in np.split(order, edges) if len(each) > 1]
