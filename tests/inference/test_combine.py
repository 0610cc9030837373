"""Fusion of a joint model's heads into one consistent prediction, and the heads before it."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from fake_models import BrightRuntime, make_card, make_slice

from bts.data.preprocess import Preprocessing
from bts.glossary import NO_TUMOUR
from bts.inference import postprocess
from bts.inference.combine import ModelOutput, Origin, make_prediction
from bts.inference.prediction import ModelMark, Prediction
from bts.inference.predictor import Predictor
from bts.inference.runtimes.base import RawOutput

CLASSES = ["glioma", "pituitary", NO_TUMOUR]
SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "result.schema.json").read_text(encoding="utf-8"))
ORIGIN = Origin((ModelMark("made", "0" * 16, "nothing"),), "paper")


def answer(mask, logits, *, classes=CLASSES, **point) -> Prediction:
    """What is answered where a joint model's raw outputs are these."""
    card = make_card("joint", classes=list(classes), operating_point={"threshold": 0.5, "min_area": 0.0, "flip": False} | point)
    raw = RawOutput(
        mask_prob=np.asarray(mask, np.float32), class_logits=np.asarray(logits, np.float32), cam=np.ones((2, 2), np.float32)
    )
    return make_prediction(make_slice(), [ModelOutput(card, Preprocessing(size=32, crop_brain=False), raw)], origin=ORIGIN)


def test_the_box_that_the_network_saw_gives_the_masks_and_maps_of_one_that_is_searched_again() -> None:
    picture = np.zeros((90, 70), np.float32)
    picture[20:60, 15:50] = np.random.default_rng(0).uniform(100, 200, (40, 35))
    item, preprocessing = make_slice(picture), Preprocessing(size=32, crop_brain=True)
    seen, box = preprocessing.image_and_box(picture)
    assert np.array_equal(seen, preprocessing.image(picture))
    assert box.shape != picture.shape
    raw = RawOutput(seen.astype(np.float32) / 255, np.array([2.0, 0.0, 0.0], np.float32), np.ones((4, 4), np.float32))
    found, again = (
        make_prediction(item, [ModelOutput(make_card("joint", classes=CLASSES), preprocessing, each)], origin=ORIGIN)
        for each in (raw._replace(box=np.array(box)), raw)
    )
    assert found.mask is not None
    assert found.mask.any()
    for name in ("mask", "mask_prob", "cam"):
        assert np.array_equal(getattr(found, name), getattr(again, name))


def test_the_joint_probability_is_that_of_two_witnesses() -> None:
    # by hand: q = (0.2, 0.2, 0.6), mask 0.9 -> (0.18, 0.18, 0.06) / 0.42
    found = postprocess.fuse_evidence(np.log([0.2, 0.2, 0.6]), temperature=1.0, tumour_prob=0.9, no_tumour=2)
    assert found == pytest.approx([3 / 7, 3 / 7, 1 / 7])


@pytest.mark.parametrize("peak", [0.2, 0.9])
def test_a_model_without_the_class_no_tumour_keeps_both_answers(peak: float) -> None:
    mask = np.where(np.arange(32 * 32).reshape(32, 32) < 64, peak, 0.01)
    found = answer(mask, [0.3, -1.0, 2.0], classes=["glioma", "meningioma", "pituitary"])
    assert found.unfused is None
    assert found.mask is not None
    assert found.mask.any() == (peak > 0.5)
    assert found.consistent is (peak > 0.5)
    assert any("mask" in line for line in found.warnings) is (peak < 0.5)


def test_a_referral_says_whose_probability_it_means_where_another_one_is_answered() -> None:
    for classes, line in (
        (CLASSES, "the highest probability of the class head alone is 0.80, below the model's threshold of 0.90"),
        (["glioma", "pituitary", "meningioma"], "the highest probability is 0.80, below"),
    ):
        card = make_card("joint", classes=list(classes), refer_below=0.9)
        raw = RawOutput(
            mask_prob=np.full((32, 32), 0.99, np.float32), class_logits=np.log(np.array([0.8, 0.1, 0.1], np.float32))
        )
        found = make_prediction(make_slice(), [ModelOutput(card, Preprocessing(size=32, crop_brain=False), raw)], origin=ORIGIN)
        assert any(f"refer to an expert: {line}" in warning for warning in found.warnings), found.warnings


def test_an_undecided_mask_leaves_the_classes_as_they_are() -> None:
    logits = np.array([0.3, -1.0, 2.0])
    assert postprocess.fuse_evidence(logits, temperature=1.0, tumour_prob=0.5, no_tumour=1) == pytest.approx(
        postprocess.softmax(logits)
    )


def test_a_bias_is_added_to_the_log_odds_of_no_tumour() -> None:
    logits = np.array([0.3, -1.0, 2.0])
    plain, biased = (
        postprocess.fuse_evidence(logits, temperature=2.0, tumour_prob=0.7, no_tumour=1, bias=bias) for bias in (0.0, 1.5)
    )
    assert np.log(biased[1] / biased[0]) == pytest.approx(np.log(plain[1] / plain[0]) + 1.5)
    assert biased[0] / biased[2] == pytest.approx(plain[0] / plain[2])


def test_more_of_a_mask_means_more_of_every_tumour() -> None:
    shares = [
        postprocess.fuse_evidence(np.array([0.0, 1.0, 2.0]), temperature=1.0, tumour_prob=tumour, no_tumour=2)
        for tumour in np.linspace(0, 1, 9)
    ]
    assert np.all(np.diff(np.stack(shares)[:, :2], axis=0) > 0)
    assert np.all(np.diff(np.stack(shares)[:, 2]) < 0)
    assert np.stack(shares).sum(1) == pytest.approx(np.ones(9))


@pytest.mark.parametrize("number", range(60))
def test_mask_and_class_of_a_joint_model_never_contradict_each_other(number: int) -> None:
    random = np.random.default_rng(number)
    spots = random.random((32, 32)) < random.choice([0.001, 0.01, 0.3])
    peak = random.choice([1e-30, 1e-6, 0.2, 0.5, 0.9, 1.0])
    mask = np.where(spots | (np.arange(32 * 32).reshape(32, 32) == 77), peak * random.random((32, 32)), peak * 1e-3)
    found = answer(
        mask,
        random.normal(size=3) * random.choice([0.1, 3, 40]),
        threshold=float(random.choice([0.2, 0.5, 0.8])),
        min_area=float(random.choice([0.0, 0.004, 0.5])),
    )
    assert found.consistent is True
    assert found.mask is not None
    assert found.mask.any() == (found.label != NO_TUMOUR)
    assert found.class_prob is not None
    assert found.class_prob.sum() == pytest.approx(1)
    jsonschema.validate(found.to_dict(), SCHEMA)


def test_a_mask_of_zeros_is_an_answer_of_its_own() -> None:
    found = answer(np.zeros((32, 32)), [50.0, 0.0, 0.0])
    assert found.label == NO_TUMOUR
    assert found.consistent is True


def test_a_sure_mask_is_drawn_as_it_is() -> None:
    mask = np.zeros((32, 32), np.float32)
    mask[8:20, 8:20] = 1.0
    found = answer(mask, [3.0, 0.0, 0.0])
    assert found.unfused is not None
    assert found.mask_area_px == found.unfused.mask_area_px
    assert found.warnings == ()


def test_a_surer_class_outvotes_the_mask_and_both_stay_in_the_result() -> None:
    mask = np.full((32, 32), 0.01)
    mask[10:20, 10:20] = 0.7
    found = answer(mask, [0.0, 0.0, 5.0])
    assert found.label == NO_TUMOUR  # odds by hand: e^5 x 0.3 against e^0 x 0.7
    assert found.mask_area_px == 0
    alone = found.to_dict()["unfused"]
    assert alone["class"] == NO_TUMOUR
    assert alone["mask_area_px"] > 0
    assert alone["tumour_probability"] == pytest.approx(0.7, abs=0.02)
    assert any("mask head and class head disagree" in warning for warning in found.warnings)


def test_a_surer_mask_outvotes_the_class() -> None:
    mask = np.zeros((32, 32))
    mask[10:20, 10:20] = 0.999
    found = answer(mask, [0.5, 0.0, 1.0])
    assert found.label == "glioma"
    assert found.mask_area_px
    assert found.to_dict()["unfused"]["class"] == NO_TUMOUR
    assert any("the class alone is no tumour, the mask alone outlines" in warning for warning in found.warnings)


def test_a_class_with_a_weak_mask_gets_its_most_probable_place() -> None:
    mask = np.full((32, 32), 0.01)
    mask[10:16, 10:16] = 0.3
    found = answer(mask, [9.0, 0.0, 0.0])
    assert found.label == "glioma"
    assert found.to_dict()["unfused"]["mask_area_px"] == 0
    assert found.mask is not None
    rows, columns = np.nonzero(found.mask)
    assert 0 < found.mask.sum() < 0.1 * found.mask.size
    assert abs(rows.mean() / 40 - 13 / 32) < 0.05  # of 40 rows and 30 columns, padded to a square
    assert abs((columns.mean() + 5) / 40 - 13 / 32) < 0.05


def test_the_smallest_region_never_takes_the_last_one() -> None:
    probability = np.zeros((20, 20))
    probability[2, 2] = probability[10:12, 10:12] = 1
    assert postprocess.decide_mask(probability, threshold=0.5, min_area=0.5).sum() == 0
    kept = postprocess.decide_mask(probability, threshold=0.5, min_area=0.5, keep_largest=True)
    assert kept.sum() == 4
    assert kept[10, 10]


def test_the_map_explains_the_class_that_is_answered() -> None:
    card = make_card("joint", classes=CLASSES)
    runtime = BrightRuntime(card, class_logits=[1.0, 0.0, 1.5], cam=np.ones((2, 2)))  # the bright disc is a sure mask
    found = Predictor([runtime]).predict(make_slice())
    assert (found.label, found.cam_class) == ("glioma", "glioma")
    assert [cam_class for _, cam_class in runtime.asked] == [None, 0]
    asked = Predictor([runtime]).predict(make_slice(), cam_class="pituitary")
    assert (asked.label, asked.cam_class) == ("glioma", "pituitary")


def test_two_models_apart_are_left_alone() -> None:
    classifier = BrightRuntime(make_card("cls", classes=CLASSES), class_logits=[0.0, 0.0, 5.0], cam=np.ones((2, 2)))
    found = Predictor([BrightRuntime(make_card("seg")), classifier]).predict(make_slice())
    assert found.consistent is False
    assert found.to_dict()["unfused"] is None
