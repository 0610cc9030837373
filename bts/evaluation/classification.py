"""Scores of a classifier per slice and per patient: confusion-based, AUC, calibration and referral, with intervals.

A confusion matrix is K x K sums in one row, truth * K + predicted. Every score is a function of such sums in the last axis, so
that `intervals.statistic_interval` applies, and equals scikit-learn's on all slices. A class absent from truth and predictions
has undefined scores (NaN) and is left out of macro means; a class that is present but never predicted has precision 0, as in
scikit-learn with `zero_division=0`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from bts.audit.confounding import weighted_auc
from bts.evaluation.calibration import brier_scores, calibration_error, calibration_rows, reliability_bins, risk_coverage
from bts.evaluation.intervals import (
    Bootstrap,
    Interval,
    Sample,
    Statistic,
    draw_patients,
    make_interval,
    mean_interval,
    statistic_interval,
    widen,
)
from bts.glossary import NO_TUMOUR

PREFIX = "prob_"
REFERRALS = {"referral": "refer", "referral_across": "refer_across"}
"""Names of the tables of a referral -> columns of the cases; the second is of a cross-validation."""
CHUNK = 250
"""Draws weighted at a time for the AUC: 250 x 3,064 slices take 6 MB per array."""


def confusion_rows(truth: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Return (N, K * K) with a single 1 per row, at the slice's cell of the confusion matrix, from class numbers (N,)."""
    rows = np.zeros((len(truth), num_classes * num_classes))
    rows[np.arange(len(truth)), np.asarray(truth) * num_classes + np.asarray(predicted)] = 1
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
    """Return the share of correct classes."""
    return _divide(_hits(sums).sum(axis=-1), sums.sum(axis=-1))


def recalls(sums: np.ndarray) -> np.ndarray:
    """Return the recall (sensitivity) of each class (..., K); NaN for a class without a slice."""
    return _divide(_hits(sums), _square(sums).sum(axis=-1))


def precisions(sums: np.ndarray) -> np.ndarray:
    """Return the precision of each class (..., K); 0 where the class is present but never predicted."""
    table = _square(sums)
    predicted, there = table.sum(axis=-2), table.sum(axis=-1)
    return np.where((predicted == 0) & (there > 0), 0.0, _divide(_hits(sums), predicted))


def specificities(sums: np.ndarray) -> np.ndarray:
    """Return the specificity of each class (..., K): the share of slices of other classes not assigned to it."""
    table = _square(sums)
    others = table.sum(axis=(-2, -1))[..., None] - table.sum(axis=-1)
    called = table.sum(axis=-2) - _hits(sums)
    return _divide(others - called, others)


def f1_scores(sums: np.ndarray) -> np.ndarray:
    """Return the F1 score of each class (..., K)."""
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


OVERALL: dict[str, Statistic] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    **{f"macro_{name}": macro(name) for name in PER_CLASS},
}
"""Scores over all classes, as functions of summed confusion counts."""


def auc_intervals(truth: np.ndarray, probabilities: np.ndarray, bootstrap: Bootstrap) -> list[Interval | None]:
    """Return the one-vs-rest AUC of every class with its interval, and as last element their macro mean.

    `truth` (N,) class numbers, `probabilities` (N, K). None for a class without slices, or without slices of other classes.
    """
    k = probabilities.shape[1]
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
    columns = [*zip(values, samples.T, strict=True), (_mean_of_defined(values), _mean_of_defined(samples))]
    return [make_interval(value, draws, bootstrap) if np.isfinite(value) else None for value, draws in columns]


def weighted_false_share(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray, *, found: float) -> np.ndarray:
    """Return the share (d,) of negatives at or above the highest threshold that finds a share of the positives.

    Arguments as in `weighted_auc`. NaN where a row has no weight on one of the two sides.

    >>> weighted_false_share(np.array([True, True, False, False]), np.array([4, 2, 3, 1]), np.ones((1, 4)), found=0.8).item()
    0.5
    """
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.r_[np.diff(scores[order]) < 0, True])  # last slice of each group of ties
    hits, false = (np.cumsum(weights[:, order] * side[order], axis=1)[:, last] for side in (positive, ~positive))
    shares = _divide(hits, np.broadcast_to(hits[:, -1:], hits.shape))
    first = (shares >= found - 1e-9).argmax(axis=1)
    wrong = _divide(np.take_along_axis(false, first[:, None], axis=1)[:, 0], false[:, -1])
    return np.where(hits[:, -1] > 0, wrong, np.nan)


def false_share_interval(positive: np.ndarray, scores: np.ndarray, bootstrap: Bootstrap, *, found: float) -> Interval | None:
    """Return `weighted_false_share` of slices with its interval; None where one of the two sides is empty."""
    value = float(weighted_false_share(positive, scores, np.ones((1, len(scores))), found=found)[0])
    if not np.isfinite(value):
        return None
    parts = (slice(start, start + CHUNK) for start in range(0, len(bootstrap.weights), CHUNK))
    samples = [weighted_false_share(positive, scores, bootstrap.slice_weights(part), found=found) for part in parts]
    return make_interval(value, np.concatenate(samples), bootstrap)


def classes_of(cases: pd.DataFrame) -> list[str]:
    """Return the model's classes in the order of its outputs."""
    return [name.removeprefix(PREFIX) for name in cases.columns if name.startswith(PREFIX)]


def class_arrays(cases: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the true class numbers (N,) and the probabilities (N, K)."""
    classes = classes_of(cases)
    truth = cases["label"].map({name: number for number, name in enumerate(classes)}).to_numpy(dtype=int)
    return truth, cases[[PREFIX + name for name in classes]].to_numpy(dtype=np.float64)


def patient_cases(cases: pd.DataFrame) -> pd.DataFrame:
    """Return one row per patient and true class: the mean probabilities over its slices, and the class they give.

    A patient has two rows only where a source labels its slices differently.
    """
    classes = classes_of(cases)
    named = cases.assign(patient=cases["patient"].where(cases["patient"].notna(), cases["path"]))
    grouped = named.groupby(["patient", "label"], sort=True)
    table = grouped[[PREFIX + name for name in classes]].mean()
    table.insert(0, "n_slices", grouped.size())
    table.insert(1, "n_right", grouped["right"].sum().astype(int))
    table = table.reset_index()
    probabilities = table[[PREFIX + name for name in classes]].to_numpy()
    table["predicted"] = [classes[number] for number in probabilities.argmax(axis=1)]
    table["confidence"] = probabilities.max(axis=1)
    table["right"] = table["predicted"] == table["label"]
    return table


def _tables(truth: np.ndarray, probabilities: np.ndarray, classes: list[str], bootstrap: Bootstrap) -> dict[str, Any]:
    """Return confusion matrix, overall scores and scores per class."""
    rows = confusion_rows(truth, probabilities.argmax(axis=1), len(classes))
    areas = auc_intervals(truth, probabilities, bootstrap)

    def score(statistic: Statistic, among: np.ndarray | None = None) -> Interval | None:
        """Return a score; a share among some slices has a width where it is 0 or 1."""
        found = statistic_interval(rows, statistic, bootstrap)
        return found if found is None or among is None else widen(found, len(np.unique(bootstrap.codes[among])))

    predicted = probabilities.argmax(axis=1)
    overall = {name: score(statistic) for name, statistic in OVERALL.items()} | {"macro_auc": areas[-1]}
    overall["accuracy"] = score(accuracy, np.ones(len(truth), dtype=bool))
    per_class = {}
    for index, label in enumerate(classes):
        among = {"precision": predicted == index, "recall": truth == index, "specificity": truth != index}
        per_class[label] = {name: score(of_class(name, index), among.get(name)) for name in PER_CLASS} | {"auc": areas[index]}
    counts = rows.sum(axis=0).reshape(len(classes), len(classes)).astype(int)
    return {"overall": overall, "class": per_class, "confusion": counts.tolist()}


def classification_scores(sample: Sample) -> dict[str, Any]:
    """Return all classification tables: per slice, per patient (by mean probability), calibration and referral."""
    classes, bootstrap = classes_of(sample.cases), sample.bootstrap
    truth, probabilities = class_arrays(sample.cases)
    patients = patient_cases(sample.cases)
    patient_draws = draw_patients(
        list(patients["patient"]), seed=bootstrap.seed, draws=len(bootstrap.weights), unit=bootstrap.unit
    )
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    hit = sample.column("right") > 0
    healthy = sample.is_class(NO_TUMOUR)
    apart = {"tumour": {"accuracy": sample.share(hit, ~healthy)}, "healthy": {"accuracy": sample.share(hit, healthy)}}
    return {
        "classes": classes,
        **(apart if healthy.any() and not healthy.all() else {}),
        "slice": _tables(truth, probabilities, classes, bootstrap),
        "patient": _tables(*class_arrays(patients), classes, patient_draws),
        "calibration": {
            "ece": statistic_interval(calibration_rows(confidence, right), calibration_error, bootstrap),
            "brier": mean_interval(brier_scores(probabilities, truth), bootstrap),
            "mean_confidence": mean_interval(confidence, bootstrap),
            "bins": reliability_bins(confidence, right),
            "area_risk_coverage": risk_coverage(confidence, right).area,
        },
        **{
            name: _referral_scores(sample, hit, refer=sample.cases[column].to_numpy(dtype=bool))
            for name, column in REFERRALS.items()
            if column in sample.cases
        },
    }


def _referral_scores(sample: Sample, hit: np.ndarray, *, refer: np.ndarray) -> dict[str, Interval | None]:
    return {
        "coverage": sample.share(~refer),
        "accuracy_answered": sample.share(hit, ~refer),
        "accuracy_referred": sample.share(hit, refer),
    }
