"""Calibration scores against other implementations; referral and uncertainty thresholds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.functional.classification import multiclass_calibration_error

from bts.evaluation import calibration as cal


def overconfident(temperature: float, n: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Truth drawn from softmax(logits); the probabilities given are sharper by `temperature`."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(n, 3)) * 1.5
    truth = (softmax(logits, axis=1).cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    return softmax(logits * temperature, axis=1), truth


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_was_put_in_is_found(temperature: float) -> None:
    probabilities, truth = overconfident(temperature)
    assert cal.fit_temperature(probabilities, truth) == pytest.approx(temperature, rel=0.1)


def test_softened_probabilities_are_the_softmax_of_divided_logits() -> None:
    logits = np.random.default_rng(1).normal(size=(5, 4)) * 3
    assert cal.soften(softmax(logits, axis=1), 2.5) == pytest.approx(softmax(logits / 2.5, axis=1))


def test_a_validation_part_that_is_all_right_gives_a_bounded_temperature() -> None:
    assert 0.05 <= cal.fit_temperature(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1])) < 0.2
    assert cal.fit_temperature(np.zeros((0, 3)), np.zeros(0, int)) == 1.0


def test_likelihood_and_brier_are_those_of_scikit_learn() -> None:
    probabilities, truth = overconfident(2.0, n=200)
    assert cal.negative_log_likelihood(probabilities, truth) == pytest.approx(log_loss(truth, probabilities))
    two = probabilities[:, :1] / probabilities[:, :2].sum(axis=1, keepdims=True)
    binary = np.hstack([1 - two, two])
    hit = truth % 2
    assert cal.brier_scores(binary, hit).mean() == pytest.approx(2 * brier_score_loss(hit, binary[:, 1]))


def test_calibration_error_is_that_of_torchmetrics() -> None:
    probabilities, truth = overconfident(2.0, n=500)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    found = cal.calibration_error(cal.calibration_rows(confidence, right).sum(axis=0))
    wanted = multiclass_calibration_error(torch.tensor(probabilities), torch.tensor(truth), num_classes=3, n_bins=cal.BINS)
    assert found == pytest.approx(wanted.item(), abs=1e-6)


def test_reliability_bins_hold_every_slice_once_also_at_the_ends() -> None:
    confidence = np.array([0.0, 1 / 15, 0.5, 1.0])
    bins = cal.reliability_bins(confidence, np.array([False, True, True, False]))
    assert sum(row.count for row in bins) == 4
    assert bins[0].count == 2
    assert bins[-1].accuracy == 0
    assert bins[1].accuracy is None


def test_risk_coverage_by_hand() -> None:
    curve = cal.risk_coverage(np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, True]))
    assert curve.coverage == pytest.approx([0.25, 0.5, 0.75, 1])
    assert curve.risk == pytest.approx([0, 1 / 2, 1 / 3, 1 / 4])
    assert curve.area == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 4) / 4)


def test_slices_of_one_confidence_are_answered_together() -> None:
    curve = cal.risk_coverage(np.array([0.9, 0.5, 0.5]), np.array([True, True, False]))
    assert curve.coverage == pytest.approx([1 / 3, 1, 1])
    assert curve.risk == pytest.approx([0, 1 / 3, 1 / 3])


def test_the_referral_threshold_is_the_smallest_that_reaches_the_target() -> None:
    confidence = np.linspace(0.99, 0.5, 50)
    right = np.ones(50, dtype=bool)
    right[30:] = False
    rule = cal.choose_referral(confidence, right, target=0.9)
    assert rule.reached
    assert rule.refer_below == confidence[32]  # 30 of 33 right are 0.909, 30 of 34 are 0.882
    answered = confidence >= rule.refer_below
    assert rule.accuracy == pytest.approx(right[answered].mean())
    assert rule.coverage == pytest.approx(answered.mean())


def test_nothing_is_referred_where_all_answers_reach_the_target() -> None:
    rule = cal.choose_referral(np.array([0.4, 0.9]), np.array([True, True]))
    assert (rule.refer_below, rule.coverage, rule.accuracy) == (None, 1.0, 1.0)


def test_an_unreachable_target_is_said_and_half_is_answered_at_least() -> None:
    confidence, right = np.linspace(0.9, 0.4, 10), np.array([False, True] * 5)
    rule = cal.choose_referral(confidence, right, target=0.99)
    assert not rule.reached
    assert rule.coverage >= 0.5
    assert cal.choose_referral(np.zeros(0), np.zeros(0, bool)).refer_below is None


def test_three_quarters_of_the_poor_masks_are_flagged() -> None:
    rng = np.random.default_rng(0)
    dice = rng.random(400)
    confidence = np.clip(dice + rng.normal(0, 0.2, 400), 0, 1)
    confidence[:50] = np.nan  # nothing drawn
    chosen = cal.choose_uncertainty(confidence, dice)
    assert chosen is not None
    poor, flagged = dice[50:] < cal.POOR_DICE, confidence[50:] < chosen.below
    assert chosen.caught == flagged[poor].mean() == pytest.approx(cal.POOR_FLAGGED, abs=0.01)
    assert chosen.false == flagged[~poor].mean() < 0.25
    assert (chosen.n_poor, chosen.n_masks) == (poor.sum(), 350)


def test_with_few_poor_masks_none_is_flagged() -> None:
    dice = np.array([0.1] * (cal.LEAST_POOR - 1) + [0.9] * 50)
    assert cal.choose_uncertainty(np.linspace(0, 1, len(dice)), dice) is None
