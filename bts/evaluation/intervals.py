"""Cluster bootstrap intervals over patients.

Slices of one patient are correlated, so patients are resampled with all their slices: 2,000 draws with replacement (the cluster
bootstrap of Field & Welsh 2007; El Jurdi et al. 2023, arXiv 2307.10926, for segmentation scores). A draw is a row of
multinomial weights, so every statistic that is a function of sums over slices is one matrix product of weights (D, P) and sums
per patient (P, ...).

Where an event happened to no patient or to all, the bootstrap interval would have zero width. There the bound is the exact
binomial one over patients (Clopper & Pearson 1934): 2.7%, not 0, for 0 of 137 patients. Other scores whose draws all agree have
no interval.

Where patients are unknown, look-alike slices with an invented ID are one cluster (`bts manifest`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from bts.audit.patients import INVENTED
from bts.glossary import count_of

DRAWS = 2000
LEVEL = 0.95
NO_WIDTH = 1e-9
"""Width below which the draws agree."""

Statistic = Callable[[np.ndarray], np.ndarray]
"""Sums over slices (..., M) to scores (...); NaN where a draw leaves a score undefined."""


@dataclass(frozen=True)
class Interval:
    """A score with its 95% interval and sample size.

    Attributes:
        value: the score on all slices.
        low: 2.5th percentile over the draws; None with fewer than two patients, or where all draws agree.
        high: 97.5th percentile, likewise.
        n_patients: number of resampled units.
        n_slices: number of slices in the score.
        seed: seed of the bootstrap.
        draws: number of draws.
        unit: `patient`; `cluster` if some of the units are look-alike slices of unknown patients; or `slice` for a set without
            patient IDs, where the interval is too narrow if patients repeat.
    """

    value: float
    low: float | None
    high: float | None
    n_patients: int
    n_slices: int
    seed: int
    draws: int
    unit: str = "patient"

    def text(self, digits: int = 3) -> str:
        """Return `0.912 [0.884, 0.938]`, or only the value where there is no interval.

        >>> Interval(0.5, 0.25, 0.75, 9, 20, 0, 2000).text(2)
        '0.50 [0.25, 0.75]'
        """
        if self.low is None or self.high is None:
            return f"{self.value:.{digits}f} [no interval]"
        return f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"

    @property
    def counted(self) -> str:
        """Number of resampled units for a column of patients, such as `31` or `159 clusters`."""
        return format_units(self.n_patients, self.unit)

    @property
    def verdict(self) -> str:
        """Whether a difference could be zero: `differs`, `could be chance`, or `no interval`."""
        if self.low is None or self.high is None:
            return "no interval"
        return "differs" if self.low > 0 or self.high < 0 else "could be chance"


def format_units(count: int, unit: str) -> str:
    """Return the number of resampled units; patients are not named.

    >>> format_units(31, "patient"), format_units(159, "cluster"), format_units(1, "slice")
    ('31', '159 clusters', '1 slice')
    """
    return str(count) if unit == "patient" else count_of(count, unit)


Scores = dict[str, Interval | None]
"""Scores by name; None where a score is undefined, as for a class without a slice."""


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Bootstrap draws over patients, shared by all intervals of a table so that scores are comparable draw by draw.

    Attributes:
        codes: (N,) int, the patient of each slice as 0 to P - 1.
        weights: (D, P) float64, multiplicity of each patient in each draw; a row sums to P.
        seed: seed of the draws.
        unit: `patient` or `slice`.
        invented: (P,) bool, clusters of look-alike slices.
    """

    codes: np.ndarray
    weights: np.ndarray
    seed: int
    unit: str
    invented: np.ndarray

    @property
    def n_patients(self) -> int:
        """Number of resampled units, P."""
        return self.weights.shape[1]

    def unit_of(self, chosen: np.ndarray | None = None) -> str:
        """Return the unit of the chosen slices (N,) bool, or of all: `cluster` if some of their patients are invented."""
        codes = self.codes if chosen is None else self.codes[chosen]
        return "cluster" if self.unit == "patient" and self.invented[codes].any() else self.unit

    def by_patient(self, values: np.ndarray) -> np.ndarray:
        """Return sums per patient (P, M) of values per slice (N, M) or (N,)."""
        table = np.asarray(values, dtype=np.float64).reshape(len(self.codes), -1)
        sums = np.zeros((self.n_patients, table.shape[1]))
        np.add.at(sums, self.codes, table)
        return sums

    def slice_weights(self, draws: slice) -> np.ndarray:
        """Return the weight (d, N) of every slice in some of the draws, for statistics that are not functions of sums."""
        return self.weights[draws][:, self.codes]


def draw_patients(patients: Sequence[str], *, seed: int = 0, draws: int = DRAWS, unit: str = "patient") -> Bootstrap:
    """Return the bootstrap draws over the distinct names in `patients` (N,), one name per slice.

    The draws depend on the set of names, the seed and the number of draws, not on the order of the slices. Raises ValueError
    without slices.
    """
    if len(patients) == 0:
        raise ValueError("an interval needs at least one slice, received none")
    names, codes = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    count = len(names)
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)
    invented = np.char.startswith(names, INVENTED)
    return Bootstrap(codes=codes.ravel(), weights=weights.astype(np.float64), seed=seed, unit=unit, invented=invented)


def make_interval(
    value: float,
    samples: np.ndarray,
    bootstrap: Bootstrap,
    *,
    chosen: np.ndarray | None = None,
    of_difference: bool = False,
) -> Interval:
    """Return the percentile interval of bootstrap `samples` (D,), ignoring undefined draws (NaN).

    The counts are those of the `chosen` slices (N,) bool, all by default. A score has no interval where all draws agree; a
    difference has, as two equal models differ by 0 in every draw.
    """
    codes = bootstrap.codes if chosen is None else bootstrap.codes[chosen]
    n_patients = len(np.unique(codes))
    defined = samples[np.isfinite(samples)]
    low = high = None
    if n_patients > 1 and len(defined):
        tail = (1 - LEVEL) / 2
        low, high = (float(bound) for bound in np.quantile(defined, [tail, 1 - tail]))
        if high - low < NO_WIDTH and not of_difference:
            low = high = None
    unit = bootstrap.unit_of(chosen)
    return Interval(float(value), low, high, n_patients, len(codes), bootstrap.seed, len(bootstrap.weights), unit)


def statistic_interval(
    values: np.ndarray, statistic: Statistic, bootstrap: Bootstrap, *, keep: np.ndarray | None = None
) -> Interval | None:
    """Return the interval of a function of sums over slices, or None where the score itself is undefined.

    Args:
        values: (N, M) numbers per slice, whose sums (M,) the statistic takes.
        statistic: sums (..., M) to scores (...).
        bootstrap: draws over the patients of these N slices.
        keep: (N,) bool, slices that count; the draws stay those of all patients, so that tables are comparable.
    """
    table = np.asarray(values, dtype=np.float64).reshape(len(bootstrap.codes), -1)
    chosen = np.ones(len(table), dtype=bool) if keep is None else np.asarray(keep, dtype=bool)
    sums = bootstrap.by_patient(np.where(chosen[:, None], table, 0.0))  # not a product: NaN times 0 is NaN
    value = float(statistic(sums.sum(axis=0)))
    if not np.isfinite(value):
        return None
    samples = np.asarray(statistic(bootstrap.weights @ sums))
    return make_interval(value, samples, bootstrap, chosen=chosen)


def ratio(sums: np.ndarray) -> np.ndarray:
    """Return sums[..., 0] / sums[..., 1], NaN for an empty denominator: the mean of a score from its sum and count."""
    return np.divide(sums[..., 0], sums[..., 1], out=np.full(sums.shape[:-1], np.nan), where=sums[..., 1] > 0)


def with_counts(values: np.ndarray, defined: np.ndarray | None = None) -> np.ndarray:
    """Return (N, 2) values and counts for `ratio`; undefined values count 0."""
    known = np.ones(len(values), dtype=bool) if defined is None else defined
    return np.stack([np.where(known, np.asarray(values, dtype=np.float64), 0.0), known.astype(np.float64)], axis=1)


def mean_interval(values: np.ndarray, bootstrap: Bootstrap, *, keep: np.ndarray | None = None) -> Interval | None:
    """Return the mean over slices of `values` (N,) with its interval over patients; None where no slice is kept.

    For bool `values`, a share of slices, the interval has a width even where all kept values are equal.
    """
    pairs = np.stack([np.asarray(values, dtype=np.float64), np.ones(len(values))], axis=1)
    found = statistic_interval(pairs, ratio, bootstrap, keep=keep)
    return widen(found) if found is not None and np.asarray(values).dtype == bool else found


def widen(share: Interval, units: int | None = None) -> Interval:
    """Return a share with the exact binomial bound over `units` (its patients) where it is 0 or 1, otherwise unchanged.

    >>> widen(Interval(0.0, None, None, 137, 181, 0, 2000)).text()
    '0.000 [0.000, 0.027]'
    """
    units = share.n_patients if units is None else units
    if units < 2 or share.value not in (0.0, 1.0):
        return share
    far = 1 - ((1 - LEVEL) / 2) ** (1 / units)
    return replace(share, low=0.0, high=far) if share.value == 0 else replace(share, low=1 - far, high=1.0)


def patient_mean_interval(values: np.ndarray, bootstrap: Bootstrap, *, keep: np.ndarray | None = None) -> Interval | None:
    """Return the mean over patients of each patient's mean over slices, so that all patients have equal weight."""
    chosen = np.ones(len(bootstrap.codes), dtype=bool) if keep is None else np.asarray(keep, dtype=bool)
    counts = bootstrap.by_patient(chosen.astype(float))[:, 0]
    if not counts.any():
        return None
    sums = bootstrap.by_patient(np.where(chosen, np.asarray(values, dtype=np.float64), 0.0))[:, 0]
    means = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
    pairs = with_counts(means, counts > 0)  # (P, 2)
    samples = ratio(bootstrap.weights @ pairs)
    value = float(ratio(pairs.sum(axis=0)))
    return make_interval(value, samples, bootstrap, chosen=chosen)


def difference_interval(first: np.ndarray, second: np.ndarray, statistic: Statistic, bootstrap: Bootstrap) -> Interval | None:
    """Return second minus first of a statistic on the same slices, paired: both scores use the same draws.

    `first` and `second` are (N, M) numbers of the same N slices in the same order, from two models.
    """
    left, right = bootstrap.by_patient(first), bootstrap.by_patient(second)
    value = float(statistic(right.sum(axis=0))) - float(statistic(left.sum(axis=0)))
    if not np.isfinite(value):
        return None
    samples = np.asarray(statistic(bootstrap.weights @ right)) - np.asarray(statistic(bootstrap.weights @ left))
    return make_interval(value, samples, bootstrap, of_difference=True)


@dataclass(frozen=True, eq=False)
class Sample:
    """A table of cases with the bootstrap draws over its patients."""

    cases: pd.DataFrame
    bootstrap: Bootstrap

    def column(self, name: str) -> np.ndarray:
        """Return one column (N,) as float64, None as NaN."""
        return numbers(self.cases, name)

    def mean(self, name: str, keep: np.ndarray | None = None) -> Interval | None:
        """Return the mean over slices where the column is defined."""
        values = self.column(name)
        defined = np.isfinite(values)
        return mean_interval(values, self.bootstrap, keep=defined if keep is None else defined & keep)

    def patient_mean(self, name: str) -> Interval | None:
        """Return the mean over patients of the means over their slices where the column is defined."""
        values = self.column(name)
        return patient_mean_interval(values, self.bootstrap, keep=np.isfinite(values))

    def share(self, flags: np.ndarray, keep: np.ndarray | None = None) -> Interval | None:
        """Return the share of flagged slices (N,) bool among those kept."""
        return mean_interval(flags, self.bootstrap, keep=keep)

    def is_class(self, label: str) -> np.ndarray:
        """Return (N,) bool: slices of a true class."""
        return (self.cases["label"] == label).to_numpy()


def numbers(cases: pd.DataFrame, name: str) -> np.ndarray:
    """Return a column (N,) of a table of cases as float64, None as NaN."""
    return pd.to_numeric(cases[name]).to_numpy(dtype=np.float64, na_value=np.nan)


def make_sample(cases: pd.DataFrame, *, seed: int = 0, draws: int = DRAWS) -> Sample:
    """Return cases with their bootstrap over patients, or over slices where a patient is unknown."""
    known = cases["patient"].notna()
    names = cases["patient"].where(known, cases["path"]).astype(str)
    unit = "patient" if known.all() else "slice"
    return Sample(cases.reset_index(drop=True), draw_patients(list(names), seed=seed, draws=draws, unit=unit))
