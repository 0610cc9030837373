"""Does a probability of 0.9 mean right nine times in ten? Temperature, calibration error, and when to ask an expert.

Everything that is fitted or chosen here (temperature, threshold) is fitted on validation; the test part only measures it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from bts.evaluation.intervals import Statistic

BINS = 15
"""Equal-width bins of confidence, as in Guo et al. (2017), On Calibration of Modern Neural Networks."""
REFER_TARGET = 0.98
"""Accuracy that the answers which are not referred must reach on validation."""
REFER_LEAST_COVERAGE = 0.5
"""At least this share of the validation slices is answered, whatever the accuracy."""
SMALLEST = 1e-12


def soften(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return probabilities (N, K) at another temperature: softmax(log p / T), which equals softmax(logits / T)."""
    logits = np.log(np.clip(probabilities, SMALLEST, 1.0)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def negative_log_likelihood(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean of -log p of the true class, in nats."""
    return float(-np.log(np.clip(probabilities[np.arange(len(truth)), truth], SMALLEST, 1.0)).mean())


def fit_temperature(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Return the temperature in [0.05, 20] with the least negative log-likelihood on validation (Guo et al. 2017).

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
    """Return each slice's squared distance (N,) between the probabilities (N, K) and the true class: 0 to 2 (Brier 1950)."""
    return ((probabilities - np.eye(probabilities.shape[1])[truth]) ** 2).sum(axis=1)


@dataclass(frozen=True)
class Reliability:
    """One bar of the reliability diagram: slices with a confidence in (low, high], their mean confidence and accuracy."""

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


def _bin_of(confidence: np.ndarray) -> np.ndarray:
    return np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)


def reliability_bins(confidence: np.ndarray, right: np.ndarray) -> list[Reliability]:
    """Return the bins of confidence (N,) with the share of right answers (N,) bool in each."""
    where, rows = _bin_of(confidence), []
    for index in range(BINS):
        inside = where == index
        count = int(inside.sum())
        means = (float(confidence[inside].mean()), float(right[inside].mean())) if count else (None, None)
        rows.append(Reliability(index / BINS, (index + 1) / BINS, count, *means))
    return rows


def calibration_rows(confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return (N, BINS + 1) numbers whose sums `calibration_error` takes: confidence minus rightness in its bin, and a 1."""
    rows = np.zeros((len(confidence), BINS + 1))
    rows[np.arange(len(confidence)), _bin_of(confidence)] = confidence - np.asarray(right, dtype=float)
    rows[:, BINS] = 1
    return rows


def _calibration_error(sums: np.ndarray) -> np.ndarray:
    whole = sums[..., BINS]
    gap = np.abs(sums[..., :BINS]).sum(axis=-1)
    return np.divide(gap, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)


calibration_error: Statistic = _calibration_error
"""Expected calibration error (ECE): mean over slices of |accuracy - confidence| of their bin, from `calibration_rows`."""


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """Share of slices answered, from the most confident down, and the share of them that is wrong; (N,) each."""

    coverage: np.ndarray
    risk: np.ndarray
    threshold: np.ndarray

    @property
    def area(self) -> float:
        """Mean risk over all coverages (AURC, Geifman & El-Yaniv 2017); smaller is better."""
        return float(self.risk.mean())


def risk_coverage(confidence: np.ndarray, right: np.ndarray) -> RiskCoverage:
    """Return the risk at every coverage; slices of equal confidence are answered together."""
    order = np.argsort(-confidence, kind="stable")
    ranked, wrong = confidence[order], np.cumsum(~np.asarray(right, dtype=bool)[order])
    last = np.searchsorted(-ranked, -ranked, side="right")  # number of slices at least as confident
    return RiskCoverage(last / len(ranked), wrong[last - 1] / last, ranked)


POOR_DICE = 0.5
"""A mask under this Dice is called poor."""
DOUBTS_CAUGHT = 0.75
"""Share of validation's poor masks that are to be called doubtful."""
LEAST_POOR = 5
"""With fewer poor masks on validation no threshold is chosen."""


@dataclass(frozen=True)
class Doubt:
    """Under which confidence a mask is called doubtful, and what that gives where it was chosen.

    Attributes:
        below: the threshold.
        caught: share of the poor masks under it.
        false: share of the others under it.
        n_poor: poor masks.
        n_masks: drawn masks in all.
    """

    below: float
    caught: float
    false: float
    n_poor: int
    n_masks: int


def choose_doubt(confidence: np.ndarray, dice: np.ndarray) -> Doubt | None:
    """Return the smallest threshold under which `DOUBTS_CAUGHT` of the poor masks lie, or None where too few masks are poor.

    Args:
        confidence: (N,) `decision.mask_confidence` of each mask, NaN where nothing is drawn: such slices don't count.
        dice: (N,) Dice of each mask.
    """
    drawn = np.isfinite(confidence)
    sure, poor = confidence[drawn], dice[drawn] < POOR_DICE
    if poor.sum() < LEAST_POOR:
        return None
    last = float(np.quantile(sure[poor], DOUBTS_CAUGHT, method="higher"))
    below = float(np.nextafter(last, np.inf))
    doubtful = sure < below
    false = float(doubtful[~poor].mean()) if (~poor).any() else 0.0
    return Doubt(below, float(doubtful[poor].mean()), false, int(poor.sum()), len(sure))


@dataclass(frozen=True)
class Referral:
    """The rule under which a slice goes to an expert, and what it gives where it was chosen."""

    refer_below: float | None
    target: float
    reached: bool
    coverage: float
    accuracy: float
    n_slices: int


def choose_referral(confidence: np.ndarray, right: np.ndarray, *, target: float = REFER_TARGET) -> Referral:
    """Return the smallest confidence threshold at which the answered validation slices reach `target` accuracy.

    Where no threshold reaches it with at least half of the slices answered, the one with the best accuracy among those is taken
    and `reached` is False. `refer_below` is None where every slice may be answered, so that nothing is referred.
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
