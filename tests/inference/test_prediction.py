"""Derived values of a prediction, and its fields in result.json."""

import json

import numpy as np
import pytest
from fake_models import make_slice

from bts.inference.prediction import ModelMark, Prediction

MASK = np.zeros((4, 5), bool)
MASK[1:3, 2:5] = True  # six pixels
IMAGE = np.arange(20.0).reshape(4, 5)


def predicted(*, spacing_mm=None, **changes):
    cam = np.zeros((4, 5), np.float32)
    cam[1, 2], cam[0, 0] = 0.75, 0.25
    fields = {
        "slice": make_slice(IMAGE, spacing_mm=spacing_mm, patient="Mrs Smith"),
        "mask": MASK,
        "classes": ("glioma", "no_tumour"),
        "class_prob": np.array([0.9, 0.1]),
        "cam": cam,
        "cam_class": "glioma",
        "models": (ModelMark("a", "0" * 16, "phantoms"),),
    }
    return Prediction(**(fields | changes))


def test_area_and_box_are_those_counted_by_hand():
    assert predicted().mask_area_px == 6
    assert predicted().box == {"row": [1, 2], "column": [2, 4]}


def test_square_millimetres_need_a_spacing():
    assert predicted().mask_area_mm2 is None
    assert predicted(spacing_mm=(0.5, 2.0)).mask_area_mm2 == pytest.approx(6.0)
    assert predicted(spacing_mm=(0.5, 0.4)).mask_area_mm2 == pytest.approx(1.2)


def test_energy_is_the_share_of_the_map_inside_the_mask():
    assert predicted().cam_energy_in_mask == pytest.approx(0.75)


def test_energy_is_unknown_with_an_empty_mask_or_a_map_of_zeros():
    assert predicted(mask=np.zeros((4, 5), bool)).cam_energy_in_mask is None
    assert predicted(cam=np.zeros((4, 5), np.float32)).cam_energy_in_mask is None
    assert predicted(cam=None).cam_energy_in_mask is None


def test_an_empty_mask_has_no_box():
    assert predicted(mask=np.zeros((4, 5), bool)).box is None


@pytest.mark.parametrize(
    ("tumour_in_mask", "probabilities", "consistent"),
    [(True, (0.9, 0.1), True), (True, (0.1, 0.9), False), (False, (0.9, 0.1), False), (False, (0.1, 0.9), True)],
)
def test_mask_and_class_agree_only_when_both_say_tumour_or_neither(tumour_in_mask, probabilities, consistent):
    mask = MASK if tumour_in_mask else np.zeros((4, 5), bool)
    assert predicted(mask=mask, class_prob=np.array(probabilities)).consistent is consistent


def test_what_no_model_answers_is_none():
    without_class = predicted(classes=(), class_prob=None, cam=None, cam_class=None)
    assert without_class.label is None
    assert without_class.consistent is None
    result = without_class.to_dict()
    assert result["class"] is None
    assert result["probabilities"] is None
    without_mask = predicted(mask=None).to_dict()
    assert without_mask["mask_area_px"] is None
    assert without_mask["box"] is None
    assert without_mask["consistent"] is None


def test_result_keeps_the_models_order_of_classes_and_is_plain_json():
    result = predicted(spacing_mm=(1.0, 1.0)).to_dict()
    assert list(result["probabilities"]) == ["glioma", "no_tumour"]
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_no_patient_reaches_a_result():
    assert "Smith" not in json.dumps(predicted().to_dict())
