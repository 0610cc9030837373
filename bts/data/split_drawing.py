"""Random draw of patients into parts such that every part resembles the whole.

A greedy draw in random order, then single moves and swaps as long as they help. Largest first would be simpler and as even,
but then the patients with the most slices would nearly always be in training, and no test part would have one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

PASSES = 8
"""Largest number of improvement passes; a few suffice for the figshare set."""
MISSING = 1e5
"""Cost of a class that is absent from a part: higher than that of any imbalance, so that it happens only if unavoidable."""


def draw_parts(counts: np.ndarray, shares: Sequence[float], *, seed: Sequence[int]) -> np.ndarray:
    """Return the part, 0 to P-1, of each of n patients (n,) int64.

    Args:
        counts: (n, K) slices of each patient in each class; every patient has at least one.
        shares: P shares of the slices, all above 0, summing to 1.
        seed: random seed; equal seeds give equal parts.

    The cost of a draw is the squared difference between actual and wanted shares of: the slices and patients of each class, all
    slices, all patients. Patients count because the slices of a part could come from a few patients with many each. A pass
    takes about n P K steps.
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
    """Return (n, C) each patient's share of every balanced quantity."""
    patients = (counts > 0).astype(np.float64)
    whole = np.concatenate([counts, patients, counts.sum(axis=1, keepdims=True), np.ones((len(counts), 1))], axis=1)
    return whole / whole.sum(axis=0)


def _costs(filled: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the cost (...) of parts with shares `filled` (..., C) and `target`."""
    uneven = ((filled - target) ** 2 / target).sum(axis=-1)
    return uneven + MISSING * (filled < 1e-9).sum(axis=-1)


def _greedy(table: np.ndarray, target: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return parts (n,) and their shares (P, C); each patient in turn goes where the cost falls most."""
    parts = np.zeros(len(table), dtype=np.int64)
    filled = np.zeros_like(target)
    for patient in order:
        parts[patient] = np.argmin(_costs(filled + table[patient], target) - _costs(filled, target))
        filled[parts[patient]] += table[patient]
    return parts, filled


def _move_each(table: np.ndarray, target: np.ndarray, parts: np.ndarray, filled: np.ndarray, order: np.ndarray) -> bool:
    """Move each patient once to where the cost falls most; `parts` and `filled` change in place."""
    moved = False
    for patient in order:
        here = parts[patient]
        now = _costs(filled, target)
        change = _costs(filled + table[patient], target) - now + _costs(filled[here] - table[patient], target[here]) - now[here]
        change[here] = 0.0
        best = int(np.argmin(change))
        if change[best] < -1e-9:
            filled[here] -= table[patient]
            filled[best] += table[patient]
            parts[patient] = best
            moved = True
    return moved


def _swap_some(
    table: np.ndarray, target: np.ndarray, parts: np.ndarray, filled: np.ndarray, random: np.random.Generator
) -> bool:
    """Try to swap each patient with a random one of another part; helps where every single move is too large."""
    swapped = False
    for patient, other in enumerate(random.permutation(len(table))):
        a, b = parts[patient], parts[other]
        if a == b:
            continue
        difference = table[other] - table[patient]
        before = _costs(filled[[a, b]], target[[a, b]]).sum()
        after = _costs(filled[a] + difference, target[a]) + _costs(filled[b] - difference, target[b])
        if after < before - 1e-9:
            filled[a] += difference
            filled[b] -= difference
            parts[patient], parts[other] = b, a
            swapped = True
    return swapped
