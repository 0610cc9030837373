"""How often is the class right, and for whom? Scores of a classifier as functions of summed confusion counts.

A confusion matrix is kept as K x K sums in one row: truth * K + predicted. Every score takes such sums in its last axis,
so that `intervals.statistic_interval` gives its interval, and equals scikit-learn's on all slices.

A class that is absent from the truth and from the predictions leaves its scores undefined (NaN) and is left out of a macro
mean; a class that is there but never predicted has precision 0, as in scikit-learn with `zero_division=0`.
"""

from __future__ import annotations

import numpy as np

from bts.evaluation.intervals import Statistic


def confusion_rows(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return (N, K * K) with a single 1 a row, at the slice's cell of the confusion matrix, from class numbers (N,)."""
    rows = np.zeros((len(truth), classes * classes))
    rows[np.arange(len(truth)), np.asarray(truth) * classes + np.asarray(predicted)] = 1
    return rows


def _square(sums: np.ndarray) -> np.ndarray:
    """Return (..., K, K): truth by row, prediction by column."""
    side = round(sums.shape[-1] ** 0.5)
    return sums.reshape(*sums.shape[:-1], side, side)


def _divide(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)


def _mean_of_defined(scores: np.ndarray) -> np.ndarray:
    """Return the mean over the last axis without NaN; NaN where nothing is defined."""
    defined = np.isfinite(scores)
    return _divide(np.where(defined, scores, 0.0).sum(axis=-1), defined.sum(axis=-1).astype(float))


def _hits(sums: np.ndarray) -> np.ndarray:
    return np.diagonal(_square(sums), axis1=-2, axis2=-1)


def accuracy(sums: np.ndarray) -> np.ndarray:
    """Return the share of right classes."""
    return _divide(_hits(sums).sum(axis=-1), sums.sum(axis=-1))


def recalls(sums: np.ndarray) -> np.ndarray:
    """Return (..., K): the share of each true class that is found (sensitivity); NaN for a class without a slice."""
    return _divide(_hits(sums), _square(sums).sum(axis=-1))


def precisions(sums: np.ndarray) -> np.ndarray:
    """Return (..., K): the share of each predicted class that is right; 0 where the class is there but never predicted."""
    table = _square(sums)
    predicted, there = table.sum(axis=-2), table.sum(axis=-1)
    return np.where((predicted == 0) & (there > 0), 0.0, _divide(_hits(sums), predicted))


def specificities(sums: np.ndarray) -> np.ndarray:
    """Return (..., K): the share of the slices of other classes that are not called this class."""
    table = _square(sums)
    others = table.sum(axis=(-2, -1))[..., None] - table.sum(axis=-1)
    called = table.sum(axis=-2) - _hits(sums)
    return _divide(others - called, others)


def f1_scores(sums: np.ndarray) -> np.ndarray:
    """Return (..., K): the harmonic mean of precision and recall."""
    table = _square(sums)
    return _divide(2 * _hits(sums), table.sum(axis=-1) + table.sum(axis=-2))


def balanced_accuracy(sums: np.ndarray) -> np.ndarray:
    """Return the mean recall over the classes that have slices (in a draw: that were drawn)."""
    return _mean_of_defined(recalls(sums))


PER_CLASS = {"precision": precisions, "recall": recalls, "specificity": specificities, "f1": f1_scores}


def macro(name: str) -> Statistic:
    """Return the unweighted mean over the defined classes of one score of `PER_CLASS`."""
    return lambda sums: _mean_of_defined(PER_CLASS[name](sums))


def of_class(name: str, index: int) -> Statistic:
    """Return one score of `PER_CLASS` for one class."""
    return lambda sums: PER_CLASS[name](sums)[..., index]
