"""Calibration scores against other implementations; referral and uncertainty thresholds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import binomtest
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.functional.classification import multiclass_calibration_error

from bts.evaluation import calibration as cal
from bts.inference.postprocess import fuse_evidence


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
    assert cal.apply_temperature(softmax(logits, axis=1), 2.5) == pytest.approx(softmax(logits / 2.5, axis=1))


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


def answers(n_patients: int, *, each: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Signals, correctness and patients, where only doubt and the distance from the training slices tell wrong answers."""
    rng = np.random.default_rng(seed)
    n = n_patients * each
    found = np.column_stack([rng.normal(-4, 2, n), rng.random(n), rng.random(n), rng.normal(0.6, 0.3, n).clip(0)])
    wrong = rng.random(n) < 1 / (1 + np.exp(-(0.9 * found[:, 0] + 5 * (found[:, 3] - 0.6))))
    return found, ~wrong, [f"p{number // each}" for number in range(n)]


def test_the_weights_that_were_put_in_are_found_and_none_is_negative() -> None:
    found, right, _ = answers(4000)
    rule = cal.fit_signal_weights(found, right)
    assert (rule["doubt"], rule["ood_distance"], rule["intercept"]) == pytest.approx((0.9, 5.0, -3.0), abs=0.25)
    assert 0 <= rule["disagreement"] < 0.3
    assert 0 <= rule["mask_doubt"] < 0.3
    against = cal.fit_signal_weights(-found, right)
    assert min(value for name, value in against.items() if name != "intercept") >= 0


def test_the_bound_holds_for_patients_never_seen() -> None:
    rule = cal.choose_referral(*answers(600))
    assert rule.reached
    assert rule.refer_below is not None
    assert rule.bound >= 0.98
    found, right, _ = answers(20_000, seed=1)
    kept = cal.probability_right(found, rule.to_card()) >= rule.refer_below
    assert right[kept].mean() >= 0.98
    assert 0.5 <= rule.coverage == pytest.approx(kept.mean(), abs=0.03)


def test_few_patients_allow_no_bound_and_the_rule_says_so() -> None:
    found, _, patients = answers(31)
    rule = cal.choose_referral(found, np.ones(len(found), bool), patients)
    assert not rule.reached
    assert rule.bound == pytest.approx(0.05 ** (1 / 31))  # exact, for 31 patients and no wrong answer
    assert (rule.n_patients, rule.needed, rule.coverage) == (31, 149, 1.0)
    assert "a bound of 98% was not reached, fewer than the 149 that the bound needs" in rule.text()
    assert cal.choose_referral(*answers(30)).coverage >= 0.5


def test_wrong_answers_of_one_patient_count_less_than_those_of_many() -> None:
    groups = np.arange(400) // 4
    scattered = np.arange(400) % 40 == 0
    clustered = groups < 3
    assert cal.effective_fraction(clustered, groups) < 0.5 < cal.effective_fraction(scattered, groups)
    assert cal.effective_fraction(np.zeros(400, bool), groups) == 100 / 400


def test_a_fold_is_referred_by_the_answers_of_the_other_folds_alone() -> None:
    found, right, patients = answers(600)
    folds = np.unique(patients, return_inverse=True)[1] % 3
    refer = cal.refer_across(found, right, patients, folds)
    for fold in range(3):
        own, wrong = folds == fold, right & (folds != fold)
        assert np.array_equal(refer[own], cal.refer_across(found, wrong, patients, folds)[own])
        names = [name for name, at in zip(patients, folds, strict=True) if at != fold]
        chosen = cal.choose_referral(found[~own], right[~own], names)
        assert chosen.refer_below is not None
        doubtful = cal.probability_right(found[own], chosen.rule) < chosen.refer_below
        assert np.array_equal(refer[own], doubtful | (found[own, 3] > 1))
    assert right[~refer].mean() >= 0.97 > right.mean()


def test_a_slice_out_of_distribution_is_referred_in_every_fold() -> None:
    found, right, patients = answers(300)
    folds = np.unique(patients, return_inverse=True)[1] % 2
    strange = np.arange(len(found)) % 7 == 0
    found[:, 3] = np.where(strange, 1.5, 0.5)
    assert cal.refer_across(found, right, patients, folds)[strange].all()


def test_the_exact_bound_is_that_of_scipy() -> None:
    for wrong, n in ((0, 50), (3, 100), (100, 100)):
        exact = binomtest(wrong, n).proportion_ci(0.9, method="exact").high  # two-sided 90% is one-sided 95%
        assert cal.exact_upper(np.array(wrong / n), np.array(float(n))) == pytest.approx(exact)


def test_temperature_and_exponent_that_were_put_in_are_found_jointly() -> None:
    rng = np.random.default_rng(0)
    logits, tumour_prob = rng.normal(size=(6000, 3)) * 1.5, rng.random(6000)
    fused = np.stack(
        [
            fuse_evidence(row, temperature=2.0, tumour_prob=tumour, no_tumour=2, exponent=0.3)
            for row, tumour in zip(logits, tumour_prob, strict=True)
        ]
    )
    truth = (fused.cumsum(axis=1) > rng.random((6000, 1))).argmax(axis=1)
    assert cal.fit_fusion(logits, tumour_prob, truth, no_tumour=2) == pytest.approx((2.0, 0.3), rel=0.15)


def test_evidence_that_says_nothing_gets_no_weight() -> None:
    rng = np.random.default_rng(1)
    logits, noise = rng.normal(size=(3000, 3)), rng.random(3000)
    truth = (softmax(logits, axis=1).cumsum(axis=1) > rng.random((3000, 1))).argmax(axis=1)
    assert cal.fit_fusion(logits, noise, truth, no_tumour=0)[1] < 0.1


def test_the_bias_balances_the_worst_rates_of_all_sets() -> None:
    rng = np.random.default_rng(0)
    tumour = np.arange(2000) < 1000
    even = np.where(tumour, 1.0, -1.0) + rng.normal(size=2000)
    assert abs(cal.choose_bias([(even, tumour)]).bias) < 0.15
    found = cal.choose_bias([(even + 1, tumour)])
    assert found.bias == pytest.approx(1.0, abs=0.15)
    assert found.after[0][1] > found.before[0][1] + 0.2
    sensitivity, specificity = found.after[0]
    assert sensitivity == pytest.approx(specificity, abs=0.03)
    both = cal.choose_bias([(even, tumour), (even + 1, tumour)])
    assert 0.2 < both.bias < 0.8, "between the balance points of both sets"


def test_a_bias_that_gains_nothing_is_0() -> None:
    tumour = np.array([True, False])
    assert cal.choose_bias([(np.array([9.0, -9.0]), tumour)]) == cal.Balance(0.0, ((1.0, 1.0),), ((1.0, 1.0),))


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
