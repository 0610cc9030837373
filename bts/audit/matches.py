"""Which pictures are the same slice, however they were stored, turned, rescaled or cropped?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bts.audit.align import same_picture, turn_box
from bts.audit.descriptor import FINE, VIEW_SIDE, describe, inverse
from bts.audit.neighbours import EXACT, nearest
from bts.audit.pictures import Collection
from bts.audit.views import HEAD, VIEWS, WHOLE, head_box, sample, view_boxes

Kind = Literal["bytes", "pixels", "near"]
"""Same file, same pixels, or the same picture in another guise."""

SAME = 0.96
"""Correlation of aligned detail from which two pictures are one. Different slices of figshare stay under 0.953; copies
that were mirrored, recompressed, rescaled or cropped lie above 0.97 but for the harshest (docs/explanations/leak_audit.md)."""

NEARLY = 0.8
"""Score down to which rejected pairs are kept: who doubts the threshold can look, and two IDs of one person show there."""

HEAD_KEEP, HEAD_FLOOR = 16, 0.75
WHOLE_KEEP, WHOLE_FLOOR = 6, 0.85
"""Candidates for each picture, and the similarity under which none is looked at, by head and by whole frame."""

CHUNK = 512


@dataclass(frozen=True)
class Match:
    """Pictures `one` and `other` (positions in the collection, `one` first) are the same slice.

    Attributes:
        kind: `bytes`, `pixels` or `near`.
        orientation: index into `ORIENTATIONS`; turning `one` so gives `other`.
        score: correlation of aligned detail, 1 for `bytes` and `pixels`.
    """

    one: int
    other: int
    kind: Kind
    orientation: int = 0
    score: float = 1.0


@dataclass(frozen=True)
class Matches:
    """What was found, and the candidates that came near without being accepted, the nearest first."""

    found: tuple[Match, ...]
    rejected: tuple[Match, ...]


def find_matches(collection: Collection, *, exact: int = EXACT, note: Callable[[str], None] | None = None) -> Matches:
    """Return all pairs of equal pictures: each copy with the first of its kind, and near pairs among those firsts.

    Args:
        collection: what is audited.
        exact: number of distinct pictures up to which every pair is compared.
        note: receives a line when a step begins.
    """
    say = note or (lambda line: None)
    firsts, copies = _exact(collection)
    thumbs = collection.thumbs[firsts]
    say(f"{len(firsts)} of {len(collection.pictures)} pictures differ in their pixels; looking for candidates")
    hits, boxes, targets = find_candidates(thumbs, exact=exact)
    say(f"aligning {len(hits)} candidate pairs")
    scores = same_picture(thumbs, hits, boxes, targets)
    near = _best_of_pair(hits, scores, firsts)
    accepted = [match for match in near if match.score >= SAME]
    missed = sorted((match for match in near if NEARLY <= match.score < SAME), key=lambda match: -match.score)
    return Matches(found=(*copies, *accepted), rejected=tuple(missed))


def _exact(collection: Collection) -> tuple[np.ndarray, list[Match]]:
    """Return the positions of the first picture of each content, and a match for every further one."""
    first: dict[str, int] = {}
    copies = []
    for i, picture in enumerate(collection.pictures):
        one = first.setdefault(picture.pixels_hash, i)
        if one != i:
            same_bytes = collection.pictures[one].bytes_hash == picture.bytes_hash
            copies.append(Match(one=one, other=i, kind="bytes" if same_bytes else "pixels"))
    return np.array(sorted(first.values())), copies


def find_candidates(thumbs: np.ndarray, *, exact: int = EXACT) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the pairs of thumbnails (N, S, S) worth a closer look.

    Returns:
        The pairs (P,) as `neighbours.nearest` gives them; the box (P, 4) of `a` that should show the head of `b`, before `a` is
        turned; and the box (P, 4) of that head.
    """
    boxes = np.stack([view_boxes(head_box(thumb)) for thumb in thumbs])
    heads, wholes = _describe(thumbs, boxes)
    by_head = _one_way(nearest(heads, heads[:, HEAD], keep=HEAD_KEEP, floor=HEAD_FLOOR, exact=exact))
    whole = nearest(wholes[:, None], wholes, keep=WHOLE_KEEP, floor=WHOLE_FLOOR, frequencies=FINE, exact=exact)
    by_whole = _one_way(whole)
    in_frame = boxes[by_whole["b"], HEAD]  # where the frames agree, the head of b lies at the same place of a
    for orientation in np.unique(by_whole["turn"]):
        turned = by_whole["turn"] == orientation
        in_frame[turned] = turn_box(in_frame[turned], inverse(int(orientation)))
    hits = np.concatenate([by_head, by_whole])
    starts = np.concatenate([boxes[by_head["a"], by_head["view"]], in_frame])
    return hits, starts, boxes[hits["b"], HEAD]


def _describe(thumbs: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return descriptors of all views (N, VIEWS, D) and finer ones of the whole frame (N, D')."""
    heads, wholes = [], []
    for start in range(0, len(thumbs), CHUNK):
        some, where = thumbs[start : start + CHUNK], boxes[start : start + CHUNK]
        heads.append(np.stack([describe(sample(some, where[:, view], points=VIEW_SIDE)) for view in range(VIEWS)], axis=1))
        wholes.append(describe(sample(some, where[:, WHOLE], points=VIEW_SIDE), frequencies=FINE))
    return np.concatenate(heads), np.concatenate(wholes)


def _one_way(hits: np.ndarray) -> np.ndarray:
    """Return of each two pictures the more similar of the looks from one and from the other: its boxes fit better."""
    low, high = np.minimum(hits["a"], hits["b"]), np.maximum(hits["a"], hits["b"])
    return hits[_firsts(low, high, -hits["similarity"])]


def _firsts(low: np.ndarray, high: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """Return the position of the entry with the least rank for each distinct pair (low, high)."""
    order = np.lexsort((rank, high, low))
    is_first = np.ones(len(order), bool)
    is_first[1:] = (np.diff(low[order]) != 0) | (np.diff(high[order]) != 0)
    return order[is_first]


def _best_of_pair(hits: np.ndarray, scores: np.ndarray, firsts: np.ndarray) -> list[Match]:
    """Return one match for each unordered pair, at its best score, as positions in the whole collection."""
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
