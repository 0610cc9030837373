"""Operating point: best on validation, by the rules of inference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_models import BrightRuntime, make_card, make_slice
from made_cases import MadeSource
from made_cases import made_slice as slice_of
from scipy.special import softmax

from bts.data.patient_ids import SamePatient
from bts.data.preprocess import Preprocessing
from bts.errors import RequestError
from bts.evaluation.metrics import overlap_scores
from bts.evaluation.operating_point import (
    CAM_PERCENTILE,
    MIN_AREAS,
    THRESHOLDS,
    OperatingChoice,
    ValidationOutputs,
    choose,
    collect_validation,
    mask_grids,
)
from bts.inference.combine import ModelOutput, Origin, make_prediction
from bts.inference.postprocess import decide_mask, fuse_evidence, mask_confidence
from bts.inference.predictor import Predictor
from bts.inference.runtimes.base import RawOutput
from bts.models.card import parse_card, to_json


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
    dice, confidence, share = mask_grids(probability, truth)
    for t, threshold in enumerate(THRESHOLDS):
        for a, area in enumerate(MIN_AREAS):
            mask = decide_mask(probability, threshold=threshold, min_area=area)
            assert dice[t, a] == pytest.approx(overlap_scores(mask, truth).dice, abs=1e-6)
            assert share[t, a] == pytest.approx(mask.mean())
            sure = mask_confidence(probability, mask)
            assert confidence[t, a] == pytest.approx(np.nan if sure is None else sure, abs=1e-6, nan_ok=True)


def test_an_empty_answer_to_an_empty_truth_is_perfect_at_every_point() -> None:
    assert (mask_grids(np.zeros((9, 9)), np.zeros((9, 9), bool))[0] == 1).all()
    truth = np.zeros((9, 9), bool)
    truth[0, 0] = True
    assert (mask_grids(np.zeros((9, 9)), truth)[0] == 0).all()


def seen_masks(dice: np.ndarray, confidence: np.ndarray | None = None) -> ValidationOutputs:
    return ValidationOutputs(dice=dice, confidence=confidence, class_logits=None, truth=None, cam_peaks=None)


def masks_of(share: float, *, tumours: int) -> ValidationOutputs:
    """Four slices of which some have a tumour, each with a mask of one size."""
    flat = np.full((4, len(THRESHOLDS), len(MIN_AREAS)), 0.1)
    empty_dice = (np.arange(4) >= tumours).astype(float)
    return replace(seen_masks(flat), share=np.full_like(flat, share), empty_dice=empty_dice)


@pytest.mark.parametrize(
    ("share", "tumours", "flaw"),
    [
        (0.0, 2, "every mask was empty on validation, where 2 of 4 slices have a tumour"),
        (0.7, 2, "every mask on validation covered at least 50% of the picture"),
        (0.0, 0, ""),
        (0.1, 2, ""),
    ],
)
def test_masks_that_are_all_empty_or_cover_the_picture_are_a_flaw(share: float, tumours: int, flaw: str) -> None:
    assert choose({False: masks_of(share, tumours=tumours)}).mask_flaw == flaw


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


def joint_outputs(n: int = 400) -> ValidationOutputs:
    """A joint model whose mask is overconfident: its evidence is right in 60% and says so with 0.99."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, n)
    logits = rng.normal(size=(n, 3)) + 2.5 * np.eye(3)[truth]
    says_tumour = np.where(rng.random(n) < 0.6, truth != 2, truth == 2)
    dice = np.where(truth != 2, 0.8, 0.0)[:, None, None] * np.ones((1, len(THRESHOLDS), len(MIN_AREAS)))
    return ValidationOutputs(
        dice=dice,
        confidence=np.full_like(dice, 0.9),
        class_logits=logits,
        truth=truth,
        cam_peaks=None,
        tumour_prob=np.where(says_tumour, 0.99, 0.01),
        no_tumour=2,
        empty_dice=(truth == 2).astype(float),
        patients=tuple(f"p{number // 2}" for number in range(n)),
    )


def bias_of(choice: OperatingChoice) -> float:
    assert choice.balance is not None
    return choice.balance.bias


def test_counterfactual_slices_take_part_in_the_fusion_and_the_worst_rate_decides() -> None:
    home = joint_outputs()
    assert home.class_logits is not None
    changed = replace(home, class_logits=home.class_logits - 2.0 * (np.arange(3) == 2))  # healthy slices called tumours
    alone, both = choose({False: home}).balance, choose({False: home}, lambda flip: changed).balance
    assert alone is not None
    assert both is not None
    assert (len(alone.before), len(both.before)) == (1, 2)
    assert both.bias > alone.bias + 0.3
    assert min(min(pair) for pair in both.after) > min(min(pair) for pair in both.before) + 0.1
    assert "on counterfactual slices" in choose({False: home}, lambda flip: changed).text()


def test_the_fusion_is_fitted_and_masks_are_scored_on_the_fused_answers() -> None:
    outputs = joint_outputs()
    choice = choose({False: outputs})
    assert choice.mask_evidence_exponent is not None
    assert 0 < choice.mask_evidence_exponent < 0.3, (
        "odds of 99 that hold in 60% are worth log(1.5) / log(99) = 0.09 of themselves"
    )
    assert outputs.class_logits is not None
    assert outputs.tumour_prob is not None
    fused = np.stack(
        [
            fuse_evidence(
                row,
                temperature=choice.temperature or 0,
                tumour_prob=m,
                no_tumour=2,
                exponent=choice.mask_evidence_exponent,
                bias=bias_of(choice),
            )
            for row, m in zip(outputs.class_logits, outputs.tumour_prob, strict=True)
        ]
    )
    full = [
        fuse_evidence(row, temperature=1.0, tumour_prob=m, no_tumour=2)
        for row, m in zip(outputs.class_logits, outputs.tumour_prob, strict=True)
    ]
    right = fused.argmax(1) == outputs.truth
    assert right.mean() > (np.stack(full).argmax(1) == outputs.truth).mean() + 0.1
    tumour = fused.argmax(1) != 2
    assert choice.dice == pytest.approx(np.where(tumour, np.where(outputs.truth != 2, 0.8, 0), outputs.truth == 2).mean())
    assert choice.referral is not None
    assert choice.referral.n_patients == 200
    assert "mask evidence to the power of 0." in choice.text()


@pytest.mark.parametrize(("same_patient", "second"), [("suffixes", "MR1"), ("exact", "MR1B")])
def test_validation_counts_patients_as_the_split_does(same_patient: SamePatient, second: str) -> None:
    source = MadeSource(
        slice_of(number, label="glioma", mask=None, patient=name) for number, name in enumerate(("MR1", "MR1B", None))
    )
    predictor = Predictor([BrightRuntime(make_card("cls"), class_logits=[0.0, 3.0, 0.0])], fuse=False)
    slices = [(record, source.read(record)) for record in source.records()]
    assert collect_validation(predictor, slices, same_patient=same_patient).patients == ("MR1", second, "2.png")


def test_a_referral_on_validation_is_the_referral_of_inference() -> None:
    outputs = joint_outputs()
    choice = choose({False: outputs})
    assert choice.referral is not None
    assert outputs.class_logits is not None
    assert outputs.tumour_prob is not None
    card = make_card(
        "joint",
        classes=["glioma", "pituitary", "no_tumour"],
        temperature=choice.temperature,
        mask_evidence_exponent=choice.mask_evidence_exponent,
        no_tumour_bias=bias_of(choice),
        referral=choice.referral.to_card(),
    )
    parse_card(to_json(card), Path("card"))
    referred = []
    for row, m in zip(outputs.class_logits, outputs.tumour_prob, strict=True):
        mask_prob = np.zeros((32, 32), np.float32)
        mask_prob[8:20, 8:20] = m
        raw = RawOutput(mask_prob=mask_prob, class_logits=row.astype(np.float32))
        found = make_prediction(
            make_slice(), [ModelOutput(card, Preprocessing(size=32, crop_brain=False), raw)], origin=Origin()
        )
        referred.append(found.refer)
        assert any("the estimated probability of a right answer is" in line for line in found.warnings) is found.refer
    assert 1 - np.mean(referred) == pytest.approx(choice.referral.coverage, abs=0.06)  # cross-fitted there, refitted here


@pytest.mark.parametrize(
    ("referral", "line"),
    [
        ({"below": 2.0}, "below: expected a number from 0 to 1"),
        ({"doubt": -1.0}, "doubt: expected a number from 0"),
        ({"colour": 1.0}, "unknown field 'colour'"),
    ],
)
def test_a_referral_outside_its_limits_is_refused(referral: dict[str, float], line: str) -> None:
    rule = dict.fromkeys(("intercept", "doubt", "disagreement", "mask_doubt", "ood_distance", "below"), 0.5)
    with pytest.raises(RequestError, match=line):
        parse_card(to_json(make_card("cls", referral=rule | referral)), Path("card"))
    with pytest.raises(RequestError, match="mask_evidence_exponent: expected a number from 0 to 10"):
        parse_card(to_json(make_card("cls", mask_evidence_exponent=11.0)), Path("card"))
