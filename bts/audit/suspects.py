"""Which two patients may be one person under two IDs? Slices that are too much alike for two heads, and more than once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bts.audit.matches import Match

ALIKE = 0.85
"""Correlation of aligned detail from which two slices of two patients are suspicious. In figshare, with families taken for one
person, three pairs of patients have several pairs of slices at or above it (docs/explanations/leak_audit.md)."""
LEAST_PAIRS = 2
"""Such pairs of slices that two patients need: a single one may be chance."""


@dataclass(frozen=True)
class Suspects:
    """Two patients whose slices are alike.

    Attributes:
        one, other: keys of the two people.
        pairs: the alike slices, the most alike first; no slice or copy of it stands in two.
    """

    one: str
    other: str
    pairs: tuple[Match, ...]


def find_suspects(matches: Sequence[Match], people: Sequence[str | None], groups: np.ndarray) -> list[Suspects]:
    """Return pairs of people with at least `LEAST_PAIRS` pairs of alike slices, the most alike people first.

    Args:
        matches: pairs with a score, accepted and rejected ones.
        people: who is on each picture, None where nobody knows.
        groups: (N,) the group of equal pictures that each belongs to; copies of one slice count once.
    """
    pairs: dict[tuple[str, str], list[Match]] = defaultdict(list)
    for match in sorted(matches, key=lambda match: -match.score):
        one, other = people[match.one], people[match.other]
        if match.score < ALIKE or one is None or other is None or one == other:
            continue
        found = pairs[min(one, other), max(one, other)]
        used = {int(groups[i]) for each in found for i in (each.one, each.other)}
        if not {int(groups[match.one]), int(groups[match.other])} & used:
            found.append(match)
    suspects = [Suspects(one, other, tuple(found)) for (one, other), found in pairs.items() if len(found) >= LEAST_PAIRS]
    return sorted(suspects, key=lambda each: -each.pairs[0].score)
