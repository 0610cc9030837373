"""What are scores taken from? The cases of one evaluation together with the draws of their patients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from bts.evaluation.intervals import DRAWS, Bootstrap, Interval, draw_patients, mean_interval, patient_mean_interval

Scores = dict[str, Interval | None]
"""Scores by name; None where a score is undefined, as for a class without a slice."""


@dataclass(frozen=True, eq=False)
class Sample:
    """The cases with the draws of their patients, so that every table of a report rests on the same ones."""

    cases: pd.DataFrame
    bootstrap: Bootstrap

    def column(self, name: str) -> np.ndarray:
        """Return one column (N,) as float64, None as NaN."""
        return pd.to_numeric(self.cases[name]).to_numpy(dtype=np.float64, na_value=np.nan)

    def mean(self, name: str, keep: np.ndarray | None = None) -> Interval | None:
        """Return the mean over slices where the column is defined."""
        values = self.column(name)
        defined = np.isfinite(values)
        return mean_interval(values, self.bootstrap, keep=defined if keep is None else defined & keep)

    def patient_mean(self, name: str, keep: np.ndarray | None = None) -> Interval | None:
        """Return the mean over patients of the means over their slices."""
        values = self.column(name)
        defined = np.isfinite(values)
        return patient_mean_interval(values, self.bootstrap, keep=defined if keep is None else defined & keep)

    def is_class(self, label: str) -> np.ndarray:
        """Return (N,) bool: the slices of a true class."""
        return (self.cases["label"] == label).to_numpy()


def make_sample(cases: pd.DataFrame, *, seed: int = 0, draws: int = DRAWS) -> Sample:
    """Return the cases with their bootstrap over patients (families of IDs), or over slices where no patient is known."""
    known = cases["family"].notna()
    names = cases["family"].where(known, cases["path"]).astype(str)
    unit = "patient" if known.all() else "slice"
    return Sample(cases.reset_index(drop=True), draw_patients(list(names), seed=seed, draws=draws, unit=unit))
