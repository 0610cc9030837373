"""Which person goes into which part, so that every part resembles the whole? Plain numbers in, part numbers out.

A greedy draw in random order, then single moves and swaps as long as they help. Largest first would be simpler and nearly
as even, but then the people with the most slices would always land in training and no test would ever hold one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

PASSES = 20
"""Rounds of improvement at most; on the figshare set two or three suffice."""
MISSING = 1e6
"""Cost of a class that is absent from a part: more than any unevenness, so that it happens only where it must."""


def draw_parts(counts: np.ndarray, shares: Sequence[float], *, seed: Sequence[int]) -> np.ndarray:
    """Return the part, 0 to P-1, of each of n people (n,) int64.

    Args:
        counts: (n, K) slices of each person in each class.
        shares: P shares of the slices, all above 0, summing to 1.
        seed: numbers that decide the draw; equal numbers give equal parts.

    The cost of a draw is the chi-square distance between the slices that each part has, by class and in all, and those it
    should have. Needs about n P K steps a pass, and n tries of a swap.
    """
    counts = np.asarray(counts, dtype=np.float64)
    table = np.concatenate([counts, counts.sum(axis=1, keepdims=True)], axis=1)  # (n, K + 1)
    target = np.outer(shares, table.sum(axis=0))  # (P, K + 1)
    random = np.random.default_rng(list(seed))
    order = random.permutation(len(table))
    parts = np.full(len(table), -1)
    filled = np.zeros_like(target)
    for one in order:
        parts[one] = np.argmin(_costs(filled[:, None] + table[None, one], target[:, None])[:, 0] - _costs(filled, target))
        filled[parts[one]] += table[one]
    for _ in range(PASSES):
        moved = _move_each(table, target, parts, filled, random.permutation(len(table)))
        swapped = _swap_some(table, target, parts, filled, random)
        if not moved and not swapped:
            break
    return parts


def _costs(filled: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the cost (...) of parts that hold `filled` (..., K + 1) and should hold `target`."""
    uneven = ((filled - target) ** 2 / np.maximum(target, 1e-9)).sum(axis=-1)
    return uneven + MISSING * ((filled <= 0) & (target > 0)).sum(axis=-1)


def _move_each(table: np.ndarray, target: np.ndarray, parts: np.ndarray, filled: np.ndarray, order: np.ndarray) -> bool:
    """Move each person once to where the cost falls most; `parts` and `filled` change in place."""
    moved = False
    for one in order:
        here = parts[one]
        now = _costs(filled, target)
        loss = _costs(filled[here] - table[one], target[here]) - now[here]
        change = _costs(filled + table[one], target) - now + loss
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
