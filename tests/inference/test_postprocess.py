"""Postprocessing: softmax, threshold and regions, map scale, warnings."""

import numpy as np
import pytest

from bts.inference.postprocess import decide_mask, scale_cam, softmax
from bts.inference.statements import format_contradiction, format_referral


def test_temperature_one_is_the_softmax_and_a_high_one_makes_all_classes_alike():
    logits = np.log([0.2, 0.3, 0.5])
    assert softmax(logits) == pytest.approx([0.2, 0.3, 0.5])
    assert softmax(logits, temperature=2.0) == pytest.approx(np.sqrt([0.2, 0.3, 0.5]) / np.sqrt([0.2, 0.3, 0.5]).sum())
    assert softmax(logits, temperature=1e6) == pytest.approx([1 / 3] * 3, abs=1e-4)


def test_softmax_of_huge_scores_stays_finite():
    assert softmax(np.array([1e4, 0.0])).tolist() == [1.0, 0.0]


def test_a_pixel_at_the_threshold_counts_as_tumour():
    mask = decide_mask(np.array([[0.49, 0.5], [0.51, 0.0]]), threshold=0.5, min_area=0.0)
    assert mask.tolist() == [[False, True], [True, False]]


def test_regions_under_the_smallest_area_are_dropped_and_one_of_just_that_area_is_kept():
    probability = np.zeros((10, 10))
    probability[0:2, 0:2] = probability[5, 5:8] = probability[9, 0] = 1  # four, three and one pixel of a hundred
    kept = decide_mask(probability, threshold=0.5, min_area=0.03)
    assert kept.sum() == 7
    assert kept[0:2, 0:2].all()
    assert kept[5, 5:8].all()


def test_pixels_that_touch_at_a_corner_are_one_region():
    assert decide_mask(np.eye(4), threshold=0.5, min_area=0.25).sum() == 4


def test_a_picture_without_tumour_stays_empty():
    assert not decide_mask(np.zeros((3, 3)), threshold=0.5, min_area=0.5).any()


def test_a_weak_map_stays_weak_with_a_scale_and_the_strong_end_is_clipped():
    cam = np.array([[0.0, 1.0], [2.0, 8.0]], np.float32)
    assert scale_cam(cam, scale=4.0).tolist() == [[0.0, 0.25], [0.5, 1.0]]
    assert scale_cam(cam / 8, scale=4.0).max() == pytest.approx(0.25)


def test_without_a_scale_the_map_is_divided_by_its_own_maximum():
    assert scale_cam(np.array([[0.0, 0.5]]), scale=None).tolist() == [[0.0, 1.0]]
    assert scale_cam(np.zeros((2, 2)), scale=None).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_warnings_name_the_reason():
    assert format_contradiction(label="no_tumour").endswith("a tumour is outlined, the class is no tumour")
    assert format_contradiction(label="glioma").endswith("the class is glioma, the mask is empty")
    assert "0.51" in format_referral(highest=0.512, refer_below=0.7)
    assert "0.70" in format_referral(highest=0.512, refer_below=0.7)
