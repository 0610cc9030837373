"""Copies of a slice: pairs of images that show it, also recompressed, reoriented, rescaled or cropped, and their groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from bts.audit.align import aligned_correlation, turn_box
from bts.audit.descriptor import FINE, VIEW_SIDE, compose, describe, inverse
from bts.audit.images import Collection
from bts.audit.neighbours import EXACT, nearest
from bts.audit.views import HEAD, VIEWS, WHOLE, head_box, sample, view_boxes
from bts.progress import counted

Kind = Literal["bytes", "pixels", "near"]
"""Same file, same pixels, or a near copy."""

SAME = 0.96
"""Lowest correlation of aligned detail of a copy. Different slices of figshare stay below 0.953; copies that were mirrored,
recompressed, rescaled or cropped are above 0.97 except for the strongest changes (docs/explanations/leak_audit.md)."""

NEARLY = 0.8
"""Lowest score of the rejected pairs that are kept: they let a reader check the threshold and reveal two IDs of one patient."""

HEAD_KEEP, HEAD_FLOOR = 16, 0.75
WHOLE_KEEP, WHOLE_FLOOR = 6, 0.85
"""Number of candidates per image and their lowest similarity, by head and by full frame."""

CHUNK = 512


@dataclass(frozen=True)
class Match:
    """Two images of the same slice, as positions in the collection; `one` comes first.

    Attributes:
        kind: `bytes`, `pixels` or `near`.
        orientation: index into `ORIENTATIONS` that turns `one` into `other`.
        score: correlation of aligned detail, 1 for `bytes` and `pixels`.
    """

    one: int
    other: int
    kind: Kind
    orientation: int = 0
    score: float = 1.0


@dataclass(frozen=True)
class Matches:
    """Accepted pairs, and the best rejected candidates in order of their score."""

    found: tuple[Match, ...]
    rejected: tuple[Match, ...]


def find_matches(collection: Collection, *, exact: int = EXACT) -> Matches:
    """Find all pairs of copies: each exact copy with the first of its kind, and near copies among those firsts.

    Args:
        collection: images under audit.
        exact: number of distinct images up to which all pairs are compared.
    """
    firsts, copies = _exact(collection)
    thumbs = collection.thumbs[firsts]
    hits, boxes, targets = find_candidates(thumbs, exact=exact)
    scores = aligned_correlation(thumbs, hits, boxes, targets)
    near = _best_of_pair(hits, scores, firsts)
    accepted = [match for match in near if match.score >= SAME]
    missed = sorted((match for match in near if NEARLY <= match.score < SAME), key=lambda match: -match.score)
    return Matches(found=(*copies, *accepted), rejected=tuple(missed))


def _exact(collection: Collection) -> tuple[np.ndarray, list[Match]]:
    """Return the position of the first image of each pixel content, and a match for every further one."""
    first: dict[str, int] = {}
    copies = []
    for i, image in enumerate(collection.images):
        one = first.setdefault(image.pixels_hash, i)
        if one != i:
            same_bytes = collection.images[one].bytes_hash == image.bytes_hash
            copies.append(Match(one=one, other=i, kind="bytes" if same_bytes else "pixels"))
    return np.array(sorted(first.values())), copies


def find_candidates(thumbs: np.ndarray, *, exact: int = EXACT) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return candidate pairs among thumbnails (N, S, S).

    Returns:
        The pairs (P,) as from `neighbours.nearest`; the box (P, 4) of `a`, in its own orientation, that should show the head of
        `b`; and the box (P, 4) of that head.
    """
    boxes = np.stack([view_boxes(head_box(thumb)) for thumb in counted(thumbs, "finding heads", unit="images")])
    heads, wholes = _describe(thumbs, boxes)
    by_head = _one_way(nearest(heads, heads[:, HEAD], keep=HEAD_KEEP, floor=HEAD_FLOOR, exact=exact))
    whole = nearest(wholes[:, None], wholes, keep=WHOLE_KEEP, floor=WHOLE_FLOOR, frequencies=FINE, exact=exact)
    by_whole = _one_way(whole)
    in_frame = boxes[by_whole["b"], HEAD]  # where the frames agree, the head of b has the same position in a
    for orientation in np.unique(by_whole["turn"]):
        turned = by_whole["turn"] == orientation
        in_frame[turned] = turn_box(in_frame[turned], inverse(int(orientation)))
    hits = np.concatenate([by_head, by_whole])
    starts = np.concatenate([boxes[by_head["a"], by_head["view"]], in_frame])
    return hits, starts, boxes[hits["b"], HEAD]


def _describe(thumbs: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return descriptors of all views (N, VIEWS, D) and finer ones of the whole frame (N, D')."""
    heads, wholes = [], []
    for start in counted(range(0, len(thumbs), CHUNK), "describing images", unit="blocks"):
        some, where = thumbs[start : start + CHUNK], boxes[start : start + CHUNK]
        heads.append(np.stack([describe(sample(some, where[:, view], points=VIEW_SIDE)) for view in range(VIEWS)], axis=1))
        wholes.append(describe(sample(some, where[:, WHOLE], points=VIEW_SIDE), frequencies=FINE))
    return np.concatenate(heads), np.concatenate(wholes)


def _one_way(hits: np.ndarray) -> np.ndarray:
    """Return the more similar of the two directions of each pair: its boxes fit better."""
    low, high = np.minimum(hits["a"], hits["b"]), np.maximum(hits["a"], hits["b"])
    return hits[_firsts(low, high, -hits["similarity"])]


def _firsts(low: np.ndarray, high: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """Return the position of the entry with the lowest rank for each distinct pair (low, high)."""
    order = np.lexsort((rank, high, low))
    is_first = np.ones(len(order), bool)
    is_first[1:] = (np.diff(low[order]) != 0) | (np.diff(high[order]) != 0)
    return order[is_first]


def _best_of_pair(hits: np.ndarray, scores: np.ndarray, firsts: np.ndarray) -> list[Match]:
    """Return one match per unordered pair, with its best score, as positions in the whole collection."""
    low, high = np.minimum(hits["a"], hits["b"]), np.maximum(hits["a"], hits["b"])
    best = _firsts(low, high, -scores)
    return [
        Match(
            one=int(firsts[low[i]]),
            other=int(firsts[high[i]]),
            kind="near",
            orientation=int(hits["turn"][i]) if hits["a"][i] == low[i] else inverse(int(hits["turn"][i])),
            score=float(scores[i]),
        )
        for i in best
        if scores[i] > 0
    ]


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
