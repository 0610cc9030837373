"""Paired comparison of two models on the same slices, with intervals over patients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bts.errors import RequestError
from bts.evaluation.calibration import brier_scores
from bts.evaluation.classification import OVERALL, class_arrays, classes_of, confusion_rows
from bts.evaluation.intervals import (
    Bootstrap,
    Interval,
    Statistic,
    difference_interval,
    make_sample,
    numbers,
    ratio,
    statistic_interval,
    with_counts,
)
from bts.evaluation.metric_registry import METRICS
from bts.evaluation.results import Evaluation
from bts.glossary import count_of

MEANS = {
    "dice": METRICS["segmentation.slice.dice"].label,
    "iou": METRICS["segmentation.slice.iou"].label,
    "hd95_px": "HD95, px",
    "both_right": METRICS["together.both_right"].label,
    "consistent": "mask and class agree",
    "cam_energy": METRICS["explanation.all.cam_energy"].label,
}
"""Column of a table of cases -> name of its mean over slices."""
CLASS_SCORES = {
    METRICS[f"classification.slice.overall.{name}"].label: OVERALL[name]
    for name in ("accuracy", "balanced_accuracy", "macro_f1")
}
"""Name of a score over all classes -> statistic of summed confusion counts."""


@dataclass(frozen=True)
class Difference:
    """A score of two models and its difference.

    Attributes:
        name: name of the score.
        first, second: score of each model.
        gain: second minus first, with an interval over the same draws of patients.
    """

    name: str
    first: Interval
    second: Interval
    gain: Interval


@dataclass(frozen=True, eq=False)
class Comparison:
    """Differences of two evaluations on their common slices; `left_out` slices are in one of the two only."""

    first: Evaluation
    second: Evaluation
    n_slices: int
    n_patients: int
    left_out: int
    differences: list[Difference]


def statistics_of(cases: pd.DataFrame) -> Iterator[tuple[str, np.ndarray, Statistic]]:
    """Yield name, numbers per slice (N, M), and statistic of their sums for every score that can be compared."""
    for column, name in MEANS.items():
        if column in cases:
            values = numbers(cases, column)
            yield name, with_counts(values, np.isfinite(values)), ratio
    if "predicted" in cases:
        truth, probabilities = class_arrays(cases)
        rows = confusion_rows(truth, probabilities.argmax(axis=1), len(classes_of(cases)))
        yield from ((name, rows, statistic) for name, statistic in CLASS_SCORES.items())
        yield "Brier score (lower is better)", with_counts(brier_scores(probabilities, truth)), ratio


def compare(first: Evaluation, second: Evaluation, *, seed: int = 0, draws: int = 2000) -> Comparison:
    """Compare every score that both evaluations have, on their common slices.

    A slice counts for a score where both models have it. Raises `RequestError` without common slices or scores, or where the
    two disagree about the class or patient of a slice.
    """
    left, right = _common(first, second)
    sample = make_sample(left, seed=seed, draws=draws)
    same_classes = classes_of(left) == classes_of(right)
    theirs = {name: values for name, values, _ in statistics_of(right)}
    differences = []
    for name, values, statistic in statistics_of(left):
        if name in theirs and (same_classes or name in MEANS.values()):
            found = _difference(name, values, theirs[name], statistic, sample.bootstrap)
            differences += [found] if found else []
    if not differences:
        raise RequestError(f"{first.folder} and {second.folder} have no score in common: compare two runs of one task")
    apart = len(set(first.cases["path"]) ^ set(second.cases["path"]))
    return Comparison(first, second, len(left), sample.bootstrap.n_patients, apart, differences)


def _common(first: Evaluation, second: Evaluation) -> tuple[pd.DataFrame, pd.DataFrame]:
    shared = sorted(set(first.cases["path"]) & set(second.cases["path"]))
    if not shared:
        raise RequestError(f"{first.folder} and {second.folder} share no test slice: compare runs with the same test part")
    left, right = (one.cases.set_index("path", drop=False).loc[shared].reset_index(drop=True) for one in (first, second))
    for name in ("label", "patient"):
        differ = (left[name] != right[name]) & ~(left[name].isna() & right[name].isna())
        if differ.any():
            row = int(np.flatnonzero(differ)[0])
            values = f"{left[name][row]} in {first.folder}, {right[name][row]} in {second.folder}"
            raise RequestError(f"{left['path'][row]}: {name} {values}: these are two different sets")
    return left, right


def _difference(name: str, one: np.ndarray, two: np.ndarray, statistic: Statistic, bootstrap: Bootstrap) -> Difference | None:
    if statistic is ratio:  # a mean counts the slices that both models have
        both = ((one[:, 1] > 0) & (two[:, 1] > 0))[:, None]
        one, two = one * both, two * both
    first, second = (statistic_interval(values, statistic, bootstrap) for values in (one, two))
    gain = difference_interval(one, two, statistic, bootstrap)
    return Difference(name, first, second, gain) if first and second and gain else None


def comparison_text(found: Comparison) -> str:
    """Return a comparison as lines for a terminal."""
    sample = f"{count_of(found.n_slices, 'slice')} of {count_of(found.n_patients, 'patient')}"
    head = f"{found.second.folder} minus {found.first.folder}: {sample}, paired"
    if found.left_out:
        head += f"; {found.left_out} slices are in one of the two only and left out"
    wide = max(len(one.name) for one in found.differences)
    lines = [
        f"  {one.name:<{wide}}  {one.first.value:8.3f} {one.second.value:8.3f}   {one.gain.text():<28} {one.gain.verdict}"
        for one in found.differences
    ]
    return "\n".join([head, *lines])


def rows_of(comparisons: Sequence[Comparison]) -> list[dict[str, object]]:
    """Return comparisons as rows of a table, for CSV and JSON."""
    return [
        {
            "first": str(found.first.folder),
            "second": str(found.second.folder),
            "score": one.name,
            "first_value": one.first.value,
            "second_value": one.second.value,
            "gain": one.gain.value,
            "low": one.gain.low,
            "high": one.gain.high,
            "verdict": one.gain.verdict,
            "n_slices": found.n_slices,
            "n_patients": one.gain.n_patients,
            "seed": one.gain.seed,
            "draws": one.gain.draws,
        }
        for found in comparisons
        for one in found.differences
    ]
