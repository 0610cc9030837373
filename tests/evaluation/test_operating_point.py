"""Operating point: best on validation, by the rules of inference."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from bts.evaluation.metrics import overlap_scores
from bts.evaluation.operating_point import CAM_PERCENTILE, MIN_AREAS, THRESHOLDS, ValidationOutputs, choose, mask_grids
from bts.inference.postprocess import decide_mask, mask_confidence


def blurred(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:40, :50]
    truth = (rows - 15) ** 2 + (columns - 20) ** 2 < rng.uniform(4, 9) ** 2
    probability = np.exp(-((rows - 16) ** 2 + (columns - 21) ** 2) / 90.0) + 0.5 * (rng.random((40, 50)) < 0.01)
    return probability.clip(0, 1), truth


@pytest.mark.parametrize("seed", range(4))
def test_the_grid_is_what_inference_and_monai_give_point_by_point(seed: int) -> None:
    probability, truth = blurred(seed)
    if seed == 3:
        truth = np.zeros_like(truth)
    dice, confidence = mask_grids(probability, truth)
    for t, threshold in enumerate(THRESHOLDS):
        for a, area in enumerate(MIN_AREAS):
            mask = decide_mask(probability, threshold=threshold, min_area=area)
            assert dice[t, a] == pytest.approx(overlap_scores(mask, truth).dice, abs=1e-6)
            sure = mask_confidence(probability, mask)
            assert confidence[t, a] == pytest.approx(np.nan if sure is None else sure, abs=1e-6, nan_ok=True)


def test_an_empty_answer_to_an_empty_truth_is_perfect_at_every_point() -> None:
    assert (mask_grids(np.zeros((9, 9)), np.zeros((9, 9), bool))[0] == 1).all()
    truth = np.zeros((9, 9), bool)
    truth[0, 0] = True
    assert (mask_grids(np.zeros((9, 9)), truth)[0] == 0).all()


def seen_masks(dice: np.ndarray, confidence: np.ndarray | None = None) -> ValidationOutputs:
    return ValidationOutputs(dice=dice, confidence=confidence, class_logits=None, truth=None, cam_peaks=None)


def test_the_best_point_is_chosen_and_the_mirror_image_only_for_a_real_gain() -> None:
    upright = np.full((5, len(THRESHOLDS), len(MIN_AREAS)), 0.5)
    upright[:, 9, 3] = 0.7
    choice = choose({False: seen_masks(upright), True: seen_masks(upright + 0.0005)})
    assert (choice.flip, choice.threshold, choice.min_area) == (False, THRESHOLDS[9], MIN_AREAS[3])
    assert choice.dice == pytest.approx(0.7)
    assert choice.dice_at_default == pytest.approx(0.5)
    assert choose({False: seen_masks(upright), True: seen_masks(upright + 0.01)}).flip is True


def test_among_equal_points_the_default_wins() -> None:
    flat = np.full((3, len(THRESHOLDS), len(MIN_AREAS)), 0.6)
    choice = choose({False: seen_masks(flat), True: seen_masks(flat)})
    assert (choice.flip, choice.threshold, choice.min_area) == (False, 0.5, 0.0)


def test_the_uncertainty_threshold_is_that_of_the_chosen_point() -> None:
    dice = np.zeros((20, len(THRESHOLDS), len(MIN_AREAS)))
    dice[8:, 9, 3] = 0.9  # eight of twenty masks are poor at the best point, all of them elsewhere
    confidence = np.ones_like(dice)
    confidence[:, 9, 3] = np.linspace(0.5, 0.95, 20)
    chosen = choose({False: seen_masks(dice, confidence)}).uncertainty
    assert chosen is not None
    assert (chosen.n_poor, chosen.n_masks) == (8, 20)
    assert chosen.below == pytest.approx(confidence[6, 9, 3])
    assert chosen.caught == 7 / 8  # the least share of eighths that is at least three quarters of the way
    assert chosen.false == 0


def seen_classes(scale: float, seed: int = 0) -> ValidationOutputs:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(600, 3))
    truth = (softmax(logits, axis=1).cumsum(axis=1) > rng.random((600, 1))).argmax(axis=1)
    return ValidationOutputs(dice=None, confidence=None, class_logits=logits * scale, truth=truth, cam_peaks=np.arange(600.0))


def test_a_classifier_gets_temperature_scale_and_referral() -> None:
    choice = choose({False: seen_classes(4.0), True: seen_classes(4.0)})
    assert choice.flip is False
    assert choice.temperature == pytest.approx(4.0, rel=0.2)
    assert choice.likelihood < choice.likelihood_at_default  # type: ignore[operator]
    assert choice.cam_scale == pytest.approx(np.percentile(np.arange(600.0), CAM_PERCENTILE))
    assert choice.referral is not None
    assert choice.referral.n_slices == choice.n_slices == 600
    assert choice.threshold is None


def test_maps_of_zeros_give_no_scale() -> None:
    seen = seen_classes(1.0)
    zero = ValidationOutputs(seen.dice, None, seen.class_logits, seen.truth, np.zeros(600))
    assert choose({False: zero}).cam_scale is None
