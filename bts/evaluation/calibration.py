"""Calibration of class probabilities, referral to an expert, and uncertain masks.

Temperature and thresholds are fitted on validation; the test part only measures them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from bts.evaluation.intervals import ratio

BINS = 15
"""Equal-width bins of confidence, as in Guo et al. (2017), On Calibration of Modern Neural Networks."""
REFER_TARGET = 0.98
"""Accuracy on validation that the slices which are not referred must reach."""
REFER_LEAST_COVERAGE = 0.5
"""Least share of validation slices that is not referred."""
SMALLEST = 1e-12
POOR_DICE = 0.5
"""A mask with a lower Dice is poor."""
POOR_FLAGGED = 0.75
"""Share of validation's poor masks that are to be flagged as uncertain."""
LEAST_POOR = 5
"""Least number of poor masks on validation for a threshold to be chosen."""


def soften(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return probabilities (N, K) at another temperature: softmax(log p / T), which equals softmax(logits / T)."""
    return softmax(np.log(np.clip(probabilities, SMALLEST, 1.0)) / temperature, axis=1)


def negative_log_likelihood(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean of -log p of the true class, in nats."""
    return float(-np.log(np.clip(probabilities[np.arange(len(truth)), truth], SMALLEST, 1.0)).mean())


def fit_temperature(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Return the temperature in [0.05, 20] with the lowest negative log-likelihood on validation (Guo et al. 2017).

    `probabilities` (N, K) at temperature 1, `truth` (N,) class numbers. 1.0 for an empty validation part.
    """
    if len(truth) == 0:
        return 1.0
    found = minimize_scalar(
        lambda log_t: negative_log_likelihood(soften(probabilities, float(np.exp(log_t))), truth),
        bounds=(np.log(0.05), np.log(20.0)),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(np.exp(found.x))


def brier_scores(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the squared distance (N,) between probabilities (N, K) and true class per slice: 0 to 2 (Brier 1950)."""
    return ((probabilities - np.eye(probabilities.shape[1])[truth]) ** 2).sum(axis=1)


@dataclass(frozen=True)
class Reliability:
    """One bin of a reliability diagram: slices with a confidence in (low, high], their mean confidence and accuracy."""

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


def _bin_of(confidence: np.ndarray) -> np.ndarray:
    return np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)


def reliability_bins(confidence: np.ndarray, right: np.ndarray) -> list[Reliability]:
    """Return the bins of confidence (N,) with the share of correct answers (N,) bool in each."""
    where, rows = _bin_of(confidence), []
    for index in range(BINS):
        inside = where == index
        count = int(inside.sum())
        means = (float(confidence[inside].mean()), float(right[inside].mean())) if count else (None, None)
        rows.append(Reliability(index / BINS, (index + 1) / BINS, count, *means))
    return rows


def calibration_rows(confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the (N, BINS + 1) rows that `calibration_error` sums: confidence minus correctness in its bin, and a 1."""
    rows = np.zeros((len(confidence), BINS + 1))
    rows[np.arange(len(confidence)), _bin_of(confidence)] = confidence - np.asarray(right, dtype=float)
    rows[:, BINS] = 1
    return rows


def calibration_error(sums: np.ndarray) -> np.ndarray:
    """Return the expected calibration error (ECE): the mean over slices of |accuracy - confidence| of their bin."""
    return ratio(np.stack([np.abs(sums[..., :BINS]).sum(axis=-1), sums[..., BINS]], axis=-1))


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """Share of slices answered, in order of decreasing confidence, and the share of them that is wrong; (N,) each."""

    coverage: np.ndarray
    risk: np.ndarray
    threshold: np.ndarray

    @property
    def area(self) -> float:
        """Mean risk over all coverages (AURC, Geifman & El-Yaniv 2017); lower is better."""
        return float(self.risk.mean())


def risk_coverage(confidence: np.ndarray, right: np.ndarray) -> RiskCoverage:
    """Return the risk at every coverage; slices of equal confidence are answered together."""
    order = np.argsort(-confidence, kind="stable")
    ranked, wrong = confidence[order], np.cumsum(~np.asarray(right, dtype=bool)[order])
    last = np.searchsorted(-ranked, -ranked, side="right")  # number of slices at least as confident
    return RiskCoverage(last / len(ranked), wrong[last - 1] / last, ranked)


@dataclass(frozen=True)
class Referral:
    """Confidence below which a slice is referred to an expert, with its coverage and accuracy on validation."""

    refer_below: float | None
    target: float
    reached: bool
    coverage: float
    accuracy: float
    n_slices: int


def choose_referral(confidence: np.ndarray, right: np.ndarray, *, target: float = REFER_TARGET) -> Referral:
    """Return the lowest threshold at which the validation slices that are not referred reach the target accuracy.

    If no threshold reaches it with at least half of the slices answered, the one with the best accuracy among those is returned
    and `reached` is False. `refer_below` is None where no slice needs to be referred.
    """
    if len(confidence) == 0:
        return Referral(None, target, False, 0.0, 0.0, 0)
    curve = risk_coverage(confidence, right)
    allowed = curve.coverage >= REFER_LEAST_COVERAGE
    good = allowed & (curve.risk <= 1 - target + 1e-12)
    candidates = good if good.any() else allowed & (curve.risk <= curve.risk[allowed].min() + 1e-12)
    best = int(np.flatnonzero(candidates)[-1])  # the largest coverage among them
    coverage = float(curve.coverage[best])
    threshold = None if coverage == 1.0 else float(curve.threshold[best])
    return Referral(threshold, target, bool(good.any()), coverage, 1 - float(curve.risk[best]), len(confidence))


@dataclass(frozen=True)
class Uncertainty:
    """Confidence below which a mask is flagged as uncertain, with its effect on validation.

    Attributes:
        below: the threshold.
        caught: share of the poor masks that are flagged.
        false: share of the other masks that are flagged.
        n_poor: number of poor masks.
        n_masks: number of non-empty masks.
    """

    below: float
    caught: float
    false: float
    n_poor: int
    n_masks: int


def choose_uncertainty(confidence: np.ndarray, dice: np.ndarray) -> Uncertainty | None:
    """Return the lowest threshold that flags `POOR_FLAGGED` of the poor masks, or None where too few masks are poor.

    Args:
        confidence: (N,) `postprocess.mask_confidence` of each mask, NaN for an empty mask, which does not count.
        dice: (N,) Dice of each mask.
    """
    drawn = np.isfinite(confidence)
    known, poor = confidence[drawn], dice[drawn] < POOR_DICE
    if poor.sum() < LEAST_POOR:
        return None
    last = float(np.quantile(known[poor], POOR_FLAGGED, method="higher"))
    below = float(np.nextafter(last, np.inf))
    flagged = known < below
    false = float(flagged[~poor].mean()) if (~poor).any() else 0.0
    return Uncertainty(below, float(flagged[poor].mean()), false, int(poor.sum()), len(known))
