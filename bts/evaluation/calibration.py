"""Calibration of class probabilities, referral to an expert, and uncertain masks.

Temperature and thresholds are fitted on validation; the test part only measures them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_softmax, softmax
from scipy.stats import beta

from bts.evaluation.intervals import ratio
from bts.inference.postprocess import EXTREME_PROB
from bts.inference.referral import SIGNALS, probability_right

BINS = 15
"""Equal-width bins of confidence, as in Guo et al. (2017), On Calibration of Modern Neural Networks."""
REFER_TARGET = 0.98
"""Accuracy of the slices that are not referred; its lower bound over the patients of validation must reach it."""
BOUND = 0.95
"""Confidence of that one-sided bound."""
FOLDS = 5
"""Folds over patients in which the estimates are cross-fitted."""
LEAST_WRONG = 10
"""Least number of wrong answers for weights to be fitted."""
REFER_LEAST_COVERAGE = 0.5
"""Least share of validation slices that is not referred."""
BIASES = tuple(round(-4 + 0.05 * step, 2) for step in range(161))
"""Candidate log-odds of "no tumour": -4 to 4."""
BALANCE_GAIN = 0.005
"""Worst rates within this of the best are equal."""
SMALLEST = 1e-12
POOR_DICE = 0.5
"""A mask with a lower Dice is poor."""
POOR_FLAGGED = 0.75
"""Share of validation's poor masks that are to be flagged as uncertain."""
LEAST_POOR = 5
"""Least number of poor masks on validation for a threshold to be chosen."""


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
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
        lambda log_t: negative_log_likelihood(apply_temperature(probabilities, float(np.exp(log_t))), truth),
        bounds=(np.log(0.05), np.log(20.0)),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(np.exp(found.x))


def fit_fusion(class_logits: np.ndarray, tumour_prob: np.ndarray, truth: np.ndarray, *, no_tumour: int) -> tuple[float, float]:
    """Return the temperature in [0.05, 20] and the exponent in [0, 4] of the mask's evidence with the highest likelihood.

    Jointly, on the fused probabilities (`postprocess.fuse_evidence`). In the inverse temperature and the exponent the negative
    log-likelihood is convex.

    Args:
        class_logits: (N, K) before the temperature.
        tumour_prob: (N,) the mask heads' probability that there is a tumour.
        truth: (N,) class numbers.
        no_tumour: index of the class "no tumour".
    """
    clipped = np.clip(tumour_prob, EXTREME_PROB, 1 - EXTREME_PROB)[:, None]
    evidence = np.where(np.arange(class_logits.shape[1]) == no_tumour, np.log1p(-clipped), np.log(clipped))
    rows = np.arange(len(truth))

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        logs = log_softmax(values[0] * class_logits + values[1] * evidence, axis=1)
        error = np.exp(logs)
        error[rows, truth] -= 1
        return -float(logs[rows, truth].mean()), np.array([(error * each).sum() for each in (class_logits, evidence)]) / len(
            rows
        )

    found = minimize(loss, np.array([1.0, 0.5]), jac=True, method="L-BFGS-B", bounds=[(0.05, 20.0), (0.0, 4.0)]).x
    return float(1 / found[0]), float(found[1])


@dataclass(frozen=True)
class Balance:
    """Log-odds added to "no tumour", with sensitivity and specificity of each validation set without and with it.

    Attributes:
        bias: the log-odds.
        before: (sensitivity, specificity) of each set at a bias of 0.
        after: the same at the chosen bias.
    """

    bias: float
    before: tuple[tuple[float, float], ...]
    after: tuple[tuple[float, float], ...]

    def text(self) -> str:
        """Return the bias and its effect in one line.

        >>> Balance(0.5, ((0.98, 0.86),), ((0.95, 0.95),)).text()
        'log-odds of no tumour +0.5 (sensitivity 0.980 -> 0.950, specificity 0.860 -> 0.950)'
        """
        sets = zip(("", " on counterfactual slices"), self.before, self.after, strict=False)
        effects = [
            f"sensitivity {old[0]:.3f} -> {new[0]:.3f}, specificity {old[1]:.3f} -> {new[1]:.3f}{where}"
            for where, old, new in sets
        ]
        return f"log-odds of no tumour {self.bias:+.3g} ({'; '.join(effects)})"


def rates(margin: np.ndarray, tumour: np.ndarray, bias: float) -> tuple[float, float]:
    """Return sensitivity and specificity where a tumour is called at a margin above the bias; 1 where no slice is of a kind.

    Args:
        margin: (N,) log-odds of the most probable tumour class to "no tumour".
        tumour: (N,) bool, whether there is a tumour.
        bias: log-odds added to "no tumour".
    """
    called = margin > bias
    return (
        float(called[tumour].mean()) if tumour.any() else 1.0,
        float(1 - called[~tumour].mean()) if (~tumour).any() else 1.0,
    )


def choose_bias(sets: Sequence[tuple[np.ndarray, np.ndarray]]) -> Balance:
    """Return the log-odds to add to "no tumour" at which the worst sensitivity or specificity of all sets is best.

    Of candidates within `BALANCE_GAIN` of the best the one nearest 0 is taken.

    Args:
        sets: margin and tumour (`rates`) of each set.
    """
    worst = {bias: min(min(rates(*each, bias)) for each in sets) for bias in BIASES}
    best = max(worst.values())
    bias = min((each for each in BIASES if worst[each] >= best - BALANCE_GAIN), key=lambda each: (abs(each), each))
    before, after = (tuple(rates(*each, value) for each in sets) for value in (0.0, bias))
    return Balance(bias, before, after)


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
    """Rule by which cases are referred to an expert, with its effect on validation.

    Attributes:
        rule: intercept and weights of the signals (`bts.inference.referral`).
        refer_below: estimated probability of a right answer under which a case is referred; None refers none.
        target: accuracy of the answered cases that was aimed at.
        bound: lower 95% bound, over patients, of the accuracy of the answered cases at the threshold.
        reached: whether the bound reaches the target; otherwise the threshold is that with the highest bound.
        coverage: share of cases that are answered.
        accuracy: accuracy of the answered cases.
        n_slices: number of validation slices.
        n_patients: number of their patients.
        needed: least number of patients with which the bound could reach the target, if no answer was wrong.
    """

    rule: dict[str, float]
    refer_below: float | None
    target: float
    bound: float
    reached: bool
    coverage: float
    accuracy: float
    n_slices: int
    n_patients: int
    needed: int

    def to_card(self) -> dict[str, Any]:
        """Return the field `referral` of a model card."""
        counted = {"bound": self.bound, "reached": self.reached, "coverage": self.coverage}
        numbers = {"n_slices": self.n_slices, "n_patients": self.n_patients}
        return {**self.rule, "below": self.refer_below or 0.0, "target": self.target, **counted, **numbers}

    def text(self) -> str:
        """Return the rule's effect in one line."""
        where = f"{self.n_slices} slices of {self.n_patients} patients"
        effect = f"{self.coverage:.0%} answered, {self.accuracy:.1%} of them right, at least {self.bound:.1%} (95%, {where})"
        if self.reached:
            return f"referral: {effect}"
        few = f", fewer than the {self.needed} that the bound needs" if self.n_patients < self.needed else ""
        kept = "the threshold with the highest bound is kept"
        return f"referral: {effect}; a bound of {self.target:.0%} was not reached{few}: {kept}"


def choose_referral(found: np.ndarray, right: np.ndarray, patients: Sequence[str], *, target: float = REFER_TARGET) -> Referral:
    """Fit the weights of the signals, and choose the lowest threshold whose bound on the accuracy reaches the target.

    Where no threshold with at least half of the slices answered reaches it, that with the highest bound among them is kept.
    The probabilities that the threshold is chosen on are cross-fitted over patients.

    Args:
        found: (N, 4) signals (`bts.inference.referral.signals`).
        right: (N,) bool, whether each answer is right.
        patients: (N,) patient of each slice.
        target: accuracy of the answered slices.
    """
    names, groups = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    rule = fit_signal_weights(found, right)
    scores = np.empty(len(right))
    for fold in range(FOLDS):
        held = groups % FOLDS == fold
        scores[held] = probability_right(found[held], fit_signal_weights(found[~held], right[~held]))
    curve = risk_coverage(scores, right)
    effective = effective_fraction(~right, groups)
    answered = np.rint(curve.coverage * len(right))
    bounds = 1 - exact_upper(curve.risk, np.maximum(answered * effective, 1.0))
    allowed = curve.coverage >= REFER_LEAST_COVERAGE
    good = allowed & (bounds >= target)
    candidates = good if good.any() else allowed & (bounds >= bounds[allowed].max() - 1e-12)
    best = int(np.flatnonzero(candidates)[-1])
    needed = math.ceil(math.log(1 - BOUND) / math.log(target))
    return Referral(
        rule=rule,
        refer_below=None if curve.coverage[best] == 1.0 else float(curve.threshold[best]),
        target=target,
        bound=float(bounds[best]),
        reached=bool(good.any()),
        coverage=float(curve.coverage[best]),
        accuracy=1 - float(curve.risk[best]),
        n_slices=len(right),
        n_patients=len(names),
        needed=needed,
    )


def refer_across(found: np.ndarray, right: np.ndarray, patients: Sequence[str], folds: np.ndarray) -> np.ndarray:
    """Return which slices of a cross-validation are referred, by the rule that is chosen on the other folds' test slices.

    Args:
        found: (N, 4) signals (`bts.inference.referral.signals`). A slice out of distribution is referred by any rule.
        right: (N,) bool, whether each answer is right.
        patients: (N,) patient of each slice.
        folds: (N,) number of the fold in which each slice was tested.

    Returns:
        (N,) bool.
    """
    names, refer = np.asarray(patients, dtype=str), found[:, SIGNALS.index("ood_distance")] > 1
    for fold in np.unique(folds):
        own = folds == fold
        chosen = choose_referral(found[~own], right[~own], list(names[~own]))
        refer[own] |= probability_right(found[own], chosen.rule) < (chosen.refer_below or 0.0)
    return refer


def fit_signal_weights(found: np.ndarray, right: np.ndarray) -> dict[str, float]:
    """Return intercept and weights, at least 0, of a logistic regression of wrong answers on the signals (N, 4).

    The weights are shrunk with a ridge of 1. With fewer than `LEAST_WRONG` wrong answers nothing is fitted: the estimate is the
    largest class probability itself.
    """
    wrong = ~np.asarray(right, dtype=bool)
    if wrong.sum() < LEAST_WRONG or wrong.all():
        return {"intercept": 0.0} | {name: float(name == "doubt") for name in SIGNALS}

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        scores = values[0] + found @ values[1:]
        error = expit(scores) - wrong
        value = np.logaddexp(0, scores).sum() - scores[wrong].sum() + (values[1:] ** 2).sum() / 2
        return float(value), np.concatenate([[error.sum()], found.T @ error + values[1:]])

    bounds = [(None, None), *[(0, None)] * len(SIGNALS)]
    fitted = minimize(loss, np.array([0.0, 1.0, 0.0, 0.0, 0.0]), jac=True, method="L-BFGS-B", bounds=bounds).x
    return {"intercept": float(fitted[0])} | {name: float(value) for name, value in zip(SIGNALS, fitted[1:], strict=True)}


def effective_fraction(wrong: np.ndarray, groups: np.ndarray) -> float:
    """Return the effective number of slices over their number, as wrong answers cluster in patients (Kish's design effect).

    At least the number of patients counts, and exactly that where no answer is wrong and nothing can be estimated.
    """
    n, rate = len(wrong), float(wrong.mean())
    totals = np.bincount(groups, weights=wrong - rate)
    least = len(totals) / n
    if rate in (0.0, 1.0) or len(totals) < 2:
        return least
    clustered = (totals**2).sum() / n**2 * len(totals) / (len(totals) - 1)
    return float(np.clip(rate * (1 - rate) / n / clustered, least, 1.0))


def exact_upper(rate: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Return the upper bound of a share by Clopper and Pearson, at an effective number of slices (Korn and Graubard 1998)."""
    wrong = rate * n
    return np.where(rate >= 1, 1.0, beta.ppf(BOUND, wrong + 1, np.maximum(n - wrong, 1e-9)))


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
