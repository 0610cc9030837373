"""Which of two models is better, and could it be chance? Differences on the same slices, paired over patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bts.errors import RequestError
from bts.evaluation import confusion
from bts.evaluation.calibration import brier_scores
from bts.evaluation.classification_scores import class_arrays, classes_of
from bts.evaluation.intervals import Bootstrap, Interval, Statistic, difference_interval, ratio, statistic_interval
from bts.evaluation.sample import make_sample
from bts.evaluation.scored import Scored

MEANS = {
    "dice": "Dice, mean over slices",
    "iou": "IoU, mean over slices",
    "hd95_px": "HD95, px",
    "both_right": "class right and Dice at least 0.5",
    "consistent": "mask and class agree",
    "cam_energy": "Grad-CAM energy inside the true mask",
}
CLASS_STATISTICS: dict[str, Statistic] = {
    "accuracy per slice": confusion.accuracy,
    "balanced accuracy per slice": confusion.balanced_accuracy,
    "macro F1 per slice": confusion.macro("f1"),
}


@dataclass(frozen=True)
class Difference:
    """One score of two models on the same slices, and what the second gains.

    Attributes:
        name: of the score.
        first, second: each model's own score.
        gain: second minus first, with an interval over the same draws of patients.
    """

    name: str
    first: Interval
    second: Interval
    gain: Interval

    @property
    def verdict(self) -> str:
        """`differs` where the interval of the gain leaves out zero, else `could be chance`."""
        if self.gain.low is None or self.gain.high is None:
            return "no interval"
        return "differs" if self.gain.low > 0 or self.gain.high < 0 else "could be chance"


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two evaluations on the slices that both have."""

    first: Scored
    second: Scored
    n_slices: int
    n_patients: int
    left_out: int
    differences: list[Difference]


def compare(first: Scored, second: Scored, *, seed: int = 0, draws: int = 2000) -> Comparison:
    """Return every score that both evaluations have, on their common slices, with paired differences.

    Raises RequestError where they share no slice, or disagree about the class or the patient of one.
    """
    left, right = _common(first, second)
    sample = make_sample(left, seed=seed, draws=draws)
    differences = _mask_differences(left, right, sample.bootstrap) + _class_differences(left, right, sample.bootstrap)
    if not differences:
        raise RequestError(f"{first.folder} and {second.folder} have no score in common: compare two runs of one task")
    apart = len(set(first.cases["path"]) ^ set(second.cases["path"]))
    return Comparison(first, second, len(left), sample.bootstrap.n_patients, apart, differences)


def _common(first: Scored, second: Scored) -> tuple[pd.DataFrame, pd.DataFrame]:
    shared = sorted(set(first.cases["path"]) & set(second.cases["path"]))
    if not shared:
        raise RequestError(f"{first.folder} and {second.folder} share no test slice: compare runs with the same test part")
    left, right = (one.cases.set_index("path", drop=False).loc[shared].reset_index(drop=True) for one in (first, second))
    for name in ("label", "family"):
        differ = (left[name] != right[name]) & ~(left[name].isna() & right[name].isna())
        if differ.any():
            row = int(np.flatnonzero(differ)[0])
            told = f"{left[name][row]} in {first.folder}, {right[name][row]} in {second.folder}"
            raise RequestError(f"{left['path'][row]}: {name} {told}: these are two different sets")
    return left, right


def _difference(name: str, one: np.ndarray, two: np.ndarray, statistic: Statistic, bootstrap: Bootstrap) -> Difference | None:
    scores = [statistic_interval(values, statistic, bootstrap) for values in (one, two)]
    gain = difference_interval(one, two, statistic, bootstrap)
    if scores[0] is None or scores[1] is None or gain is None:
        return None
    return Difference(name, scores[0], scores[1], gain)


def _mask_differences(left: pd.DataFrame, right: pd.DataFrame, bootstrap: Bootstrap) -> list[Difference]:
    """Return the differences of means; a slice counts where both models have the score."""
    found = []
    for column, name in MEANS.items():
        if column not in left or column not in right:
            continue
        pairs = [pd.to_numeric(cases[column]).to_numpy(dtype=np.float64, na_value=np.nan) for cases in (left, right)]
        both = np.isfinite(pairs[0]) & np.isfinite(pairs[1])
        one, two = (np.stack([np.where(both, values, 0.0), both.astype(float)], axis=1) for values in pairs)
        found.append(_difference(name, one, two, ratio, bootstrap))
    return [one for one in found if one is not None]


def _class_differences(left: pd.DataFrame, right: pd.DataFrame, bootstrap: Bootstrap) -> list[Difference]:
    if "predicted" not in left or "predicted" not in right or classes_of(left) != classes_of(right):
        return []
    k = len(classes_of(left))
    arrays = [class_arrays(cases) for cases in (left, right)]
    rows = [confusion.confusion_rows(truth, probabilities.argmax(axis=1), k) for truth, probabilities in arrays]
    found = [_difference(name, rows[0], rows[1], statistic, bootstrap) for name, statistic in CLASS_STATISTICS.items()]
    brier = [np.stack([brier_scores(probabilities, truth), np.ones(len(truth))], axis=1) for truth, probabilities in arrays]
    found.append(_difference("Brier score (lower is better)", brier[0], brier[1], ratio, bootstrap))
    return [one for one in found if one is not None]


def comparison_text(found: Comparison) -> str:
    """Return a comparison as lines for a terminal."""
    head = f"{found.second.folder} minus {found.first.folder}: {found.n_slices} slices of {found.n_patients} patients, paired"
    if found.left_out:
        head += f"; {found.left_out} slices stand in one of the two only and are left out"
    wide = max(len(one.name) for one in found.differences)
    lines = [
        f"  {one.name:<{wide}}  {one.first.value:8.3f} {one.second.value:8.3f}   {one.gain.text():<28} {one.verdict}"
        for one in found.differences
    ]
    return "\n".join([head, *lines])


def rows_of(comparisons: Sequence[Comparison]) -> list[dict[str, object]]:
    """Return comparisons as rows of a table, for CSV and JSON."""
    rows: list[dict[str, object]] = []
    for found in comparisons:
        for one in found.differences:
            row = {"first": str(found.first.folder), "second": str(found.second.folder), "score": one.name}
            values = {"first_value": one.first.value, "second_value": one.second.value, "gain": one.gain.value}
            rest = {"low": one.gain.low, "high": one.gain.high, "verdict": one.verdict, "n_slices": found.n_slices}
            drawn = {"n_patients": one.gain.n_patients, "seed": one.gain.seed, "draws": one.gain.draws}
            rows.append({**row, **values, **rest, **drawn})
    return rows
