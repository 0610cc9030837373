"""How well do the probabilities order the slices? Area under the ROC curve, one class against the rest, with its interval."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score

from bts.evaluation.intervals import Bootstrap, Interval, make_interval

CHUNK = 250
"""Draws weighed at once: 250 x 3,064 slices are 6 MB an array."""


def weighted_auc(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the area (d,) under the ROC curve for each row of slice weights (d, N); ties count half.

    `positive` (N,) bool, `scores` (N,). NaN where a row has no weight on one of the sides.
    """
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])  # first slice of each group of equal scores
    right, wrong = weights[:, order] * positive[order], weights[:, order] * ~positive[order]
    positives, negatives = np.add.reduceat(right, starts, axis=1), np.add.reduceat(wrong, starts, axis=1)
    below = np.cumsum(negatives, axis=1) - negatives
    pairs = positives.sum(axis=1) * negatives.sum(axis=1)
    won = (positives * (below + negatives / 2)).sum(axis=1)
    return np.divide(won, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)


def auc_intervals(truth: np.ndarray, probabilities: np.ndarray, bootstrap: Bootstrap) -> list[Interval | None]:
    """Return the one-vs-rest AUC of every class with its interval, and last their mean (macro).

    `truth` (N,) class numbers, `probabilities` (N, K). None for a class without slices, or without slices of others.
    """
    n, k = probabilities.shape
    samples = np.full((len(bootstrap.weights), k), np.nan)
    values = np.full(k, np.nan)
    for index in range(k):
        positive = truth == index
        if positive.all() or not positive.any():
            continue
        values[index] = roc_auc_score(positive, probabilities[:, index])
        for start in range(0, len(samples), CHUNK):
            part = slice(start, start + CHUNK)
            samples[part, index] = weighted_auc(positive, probabilities[:, index], bootstrap.slice_weights(part))
    columns = [(values[i], samples[:, i]) for i in range(k)]
    known = np.isfinite(values)
    if known.any():
        counts = np.isfinite(samples[:, known]).sum(axis=1)
        total = np.where(np.isfinite(samples[:, known]), samples[:, known], 0).sum(axis=1)
        columns.append((values[known].mean(), np.divide(total, counts, out=np.full(len(total), np.nan), where=counts > 0)))
    else:
        columns.append((np.nan, np.full(len(samples), np.nan)))
    return [
        make_interval(value, draws, bootstrap, n_slices=n, n_patients=bootstrap.n_patients) if np.isfinite(value) else None
        for value, draws in columns
    ]
