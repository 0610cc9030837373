"""Which person goes into which part, so that every part resembles the whole? Plain numbers in, part numbers out.

A greedy draw in random order, then single moves and swaps as long as they help. Largest first would be simpler and as
even, but then the people with the most slices would nearly always land in training and no test would hold one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

PASSES = 8
"""Rounds of improvement at most; on the figshare set a few suffice."""
MISSING = 1e5
"""Cost of a class that is absent from a part: more than any unevenness, so that it happens only where it must."""


def draw_parts(counts: np.ndarray, shares: Sequence[float], *, seed: Sequence[int]) -> np.ndarray:
    """Return the part, 0 to P-1, of each of n people (n,) int64.

    Args:
        counts: (n, K) slices of each person in each class; every person has one at least.
        shares: P shares of the slices, all above 0, summing to 1.
        seed: numbers that decide the draw; equal numbers give equal parts.

    A draw costs the squared difference between what each part holds and what it should hold of: the slices and the people of
    each class, all slices, all people. People count because a part can have its slices from a few people with many each.
    Needs about n P K steps a pass.
    """
    table = _table(np.asarray(counts, dtype=np.float64))
    target = np.repeat(np.asarray(shares, dtype=np.float64)[:, None], table.shape[1], axis=1)  # (P, C)
    random = np.random.default_rng(list(seed))
    parts, filled = _greedy(table, target, random.permutation(len(table)))
    for _ in range(PASSES):
        moved = _move_each(table, target, parts, filled, random.permutation(len(table)))
        swapped = _swap_some(table, target, parts, filled, random)
        if not moved and not swapped:
            break
    return parts


def _table(counts: np.ndarray) -> np.ndarray:
    """Return (n, C) what each person brings of every balanced quantity, as a share of the whole."""
    people = (counts > 0).astype(np.float64)
    whole = np.concatenate([counts, people, counts.sum(axis=1, keepdims=True), np.ones((len(counts), 1))], axis=1)
    return whole / whole.sum(axis=0)


def _costs(filled: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the cost (...) of parts that hold `filled` (..., C) and should hold `target`."""
    uneven = ((filled - target) ** 2 / target).sum(axis=-1)
    return uneven + MISSING * (filled < 1e-9).sum(axis=-1)


def _greedy(table: np.ndarray, target: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return parts (n,) and what they hold (P, C): each person in turn goes where the cost falls most."""
    parts = np.zeros(len(table), dtype=np.int64)
    filled = np.zeros_like(target)
    for one in order:
        parts[one] = np.argmin(_costs(filled + table[one], target) - _costs(filled, target))
        filled[parts[one]] += table[one]
    return parts, filled


def _move_each(table: np.ndarray, target: np.ndarray, parts: np.ndarray, filled: np.ndarray, order: np.ndarray) -> bool:
    """Move each person once to where the cost falls most; `parts` and `filled` change in place."""
    moved = False
    for one in order:
        here = parts[one]
        now = _costs(filled, target)
        change = _costs(filled + table[one], target) - now + _costs(filled[here] - table[one], target[here]) - now[here]
        change[here] = 0.0
        best = int(np.argmin(change))
        if change[best] < -1e-9:
            filled[here] -= table[one]
            filled[best] += table[one]
            parts[one] = best
            moved = True
    return moved


def _swap_some(
    table: np.ndarray, target: np.ndarray, parts: np.ndarray, filled: np.ndarray, random: np.random.Generator
) -> bool:
    """Try one random partner in another part for each person; helps where every single move is too large."""
    swapped = False
    for one, other in enumerate(random.permutation(len(table))):
        a, b = parts[one], parts[other]
        if a == b:
            continue
        difference = table[other] - table[one]
        before = _costs(filled[[a, b]], target[[a, b]]).sum()
        after = _costs(filled[a] + difference, target[a]) + _costs(filled[b] - difference, target[b])
        if after < before - 1e-9:
            filled[a] += difference
            filled[b] -= difference
            parts[one], parts[other] = b, a
            swapped = True
    return swapped
