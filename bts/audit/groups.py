"""Groups of copies: connected images, and the orientation of each member relative to a start."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from bts.audit.descriptor import compose, inverse
from bts.audit.matches import Match


@dataclass(frozen=True)
class Link:
    """Path of matches from a start to an image, both as positions in the collection.

    Attributes:
        orientation: index into `ORIENTATIONS` that turns `start` into `image`.
        score: lowest correlation along the path.
        steps: number of matches; 0 for the start itself.
    """

    image: int
    start: int
    orientation: int = 0
    score: float = 1.0
    steps: int = 0


def spread(matches: Iterable[Match], starts: Iterable[int]) -> dict[int, Link]:
    """Link every reachable image to one of `starts`, over the fewest matches and among those with the best score."""
    edges: dict[int, list[tuple[int, int, float]]] = defaultdict(list)
    for match in matches:
        edges[match.one].append((match.other, match.orientation, match.score))
        edges[match.other].append((match.one, inverse(match.orientation), match.score))
    found = {i: Link(image=i, start=i) for i in starts}
    latest = dict(found)
    while latest:
        reached: dict[int, Link] = {}
        for link in latest.values():
            for other, orientation, score in edges[link.image]:
                if other in found:
                    continue
                new = Link(other, link.start, compose(link.orientation, orientation), min(link.score, score), link.steps + 1)
                if other not in reached or new.score > reached[other].score:
                    reached[other] = new
        found |= reached
        latest = reached
    return found


def group_numbers(n: int, matches: Iterable[Match]) -> np.ndarray:
    """Return for each of `n` images the first image of its group: all that match directly or in a chain.

    >>> group_numbers(5, [Match(0, 3, "near"), Match(3, 4, "bytes")]).tolist()
    [0, 1, 2, 0, 0]
    """
    pairs = np.array([(match.one, match.other) for match in matches], dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, component = connected_components(graph, directed=False)
    _, first = np.unique(component, return_index=True)
    return first[component]


def members(groups: np.ndarray) -> list[list[int]]:
    """Return the groups of more than one image, each in order."""
    order = np.argsort(groups, kind="stable")
    edges = np.flatnonzero(np.diff(groups[order])) + 1
    return [each.tolist() for each in np.split(order, edges) if len(each) > 1]
