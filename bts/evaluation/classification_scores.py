"""How good is the classifier, per slice and per patient, per class, and how well do its probabilities hold?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bts.evaluation import confusion
from bts.evaluation.calibration import brier_scores, calibration_error, calibration_rows, reliability_bins, risk_coverage
from bts.evaluation.intervals import Bootstrap, Interval, draw_patients, mean_interval, statistic_interval
from bts.evaluation.ranking import auc_intervals
from bts.evaluation.sample import Sample

PREFIX = "prob_"


def classes_of(cases: pd.DataFrame) -> list[str]:
    """Return the model's classes in the order of its outputs."""
    return [name.removeprefix(PREFIX) for name in cases.columns if name.startswith(PREFIX)]


def class_arrays(cases: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the true class numbers (N,) and the probabilities (N, K)."""
    classes = classes_of(cases)
    truth = cases["label"].map({name: number for number, name in enumerate(classes)}).to_numpy(dtype=int)
    return truth, cases[[PREFIX + name for name in classes]].to_numpy(dtype=np.float64)


def patient_cases(cases: pd.DataFrame) -> pd.DataFrame:
    """Return one row a patient (family) and true class: the mean of the probabilities over the slices, and what they say.

    A patient stands twice only where a source gives its slices several classes.
    """
    classes = classes_of(cases)
    named = cases.assign(family=cases["family"].where(cases["family"].notna(), cases["path"]))
    grouped = named.groupby(["family", "label"], sort=True)
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
    """Return confusion matrix, overall and per-class scores of one set of answers."""
    rows = confusion.confusion_rows(truth, probabilities.argmax(axis=1), len(classes))
    areas = auc_intervals(truth, probabilities, bootstrap)

    def score(statistic: Any) -> Interval | None:
        return statistic_interval(rows, statistic, bootstrap)

    overall = {"accuracy": score(confusion.accuracy), "balanced_accuracy": score(confusion.balanced_accuracy)}
    overall |= {f"macro_{name}": score(confusion.macro(name)) for name in confusion.PER_CLASS}
    overall["macro_auc"] = areas[-1]
    per_class = {
        label: {name: score(confusion.of_class(name, index)) for name in confusion.PER_CLASS} | {"auc": areas[index]}
        for index, label in enumerate(classes)
    }
    counts = rows.sum(axis=0).reshape(len(classes), len(classes)).astype(int)
    return {"overall": overall, "class": per_class, "confusion": counts.tolist()}


def _calibration(sample: Sample, truth: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    """Return calibration error, Brier score, reliability bins and the area under the risk-coverage curve."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    return {
        "ece": statistic_interval(calibration_rows(confidence, right), calibration_error, sample.bootstrap),
        "brier": mean_interval(brier_scores(probabilities, truth), sample.bootstrap),
        "mean_confidence": mean_interval(confidence, sample.bootstrap),
        "bins": reliability_bins(confidence, right),
        "area_risk_coverage": risk_coverage(confidence, right).area,
    }


def _referral(sample: Sample) -> dict[str, Any]:
    """Return the share of slices that are answered and not referred, and how often the answers and the referred are right."""
    answered = ~sample.cases["refer"].to_numpy(dtype=bool)
    right = sample.column("right") > 0
    return {
        "coverage": mean_interval(answered, sample.bootstrap),
        "accuracy_answered": mean_interval(right, sample.bootstrap, keep=answered),
        "accuracy_referred": mean_interval(right, sample.bootstrap, keep=~answered),
    }


def classification_scores(sample: Sample) -> dict[str, Any]:
    """Return every table of the classes: per slice, per patient (by mean probability), calibration and referral."""
    classes = classes_of(sample.cases)
    truth, probabilities = class_arrays(sample.cases)
    patients = patient_cases(sample.cases)
    draws, seed = len(sample.bootstrap.weights), sample.bootstrap.seed
    patient_draws = draw_patients(list(patients["family"]), seed=seed, draws=draws, unit=sample.bootstrap.unit)
    return {
        "classes": classes,
        "slice": _tables(truth, probabilities, classes, sample.bootstrap),
        "patient": _tables(*class_arrays(patients), classes, patient_draws),
        "calibration": _calibration(sample, truth, probabilities),
        "referral": _referral(sample),
    }
