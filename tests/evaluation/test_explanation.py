"""Scores of class activation maps, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from bts.evaluation.metrics import cam_scores

MASK = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 0]], dtype=bool)
FLAT = 4 / 9


def test_a_map_on_the_mask_is_perfect_and_one_beside_it_is_zero() -> None:
    assert cam_scores(MASK.astype(np.float32), MASK) == {"cam_energy": 1, "cam_hit": 1, "cam_iou": 1, "cam_flat": FLAT}
    assert cam_scores((~MASK).astype(np.float32), MASK) == {"cam_energy": 0, "cam_hit": 0, "cam_iou": 0, "cam_flat": FLAT}


def test_a_flat_map_scores_what_the_mask_covers() -> None:
    scores = cam_scores(np.full(MASK.shape, 0.3, np.float32), MASK)
    assert scores == pytest.approx({"cam_energy": FLAT, "cam_hit": FLAT, "cam_iou": FLAT, "cam_flat": FLAT})


def test_by_hand() -> None:
    cam = np.array([[0.2, 0.6, 0], [0.1, 0.1, 1.0], [0, 0, 0]], np.float32)
    scores = cam_scores(cam, MASK)  # 1.0 of 2.0 inside; the peak outside; over half: (0,1) and (1,2)
    assert scores == pytest.approx({"cam_energy": 0.5, "cam_hit": 0, "cam_iou": 1 / 5, "cam_flat": FLAT})


def test_a_map_of_zeros_explains_nothing_and_a_healthy_slice_has_nothing_to_point_at() -> None:
    assert cam_scores(np.zeros((3, 3), np.float32), MASK) == {"cam_energy": 0, "cam_hit": 0, "cam_iou": 0, "cam_flat": FLAT}
    assert set(cam_scores(np.ones((3, 3), np.float32), np.zeros((3, 3), bool)).values()) == {None}
