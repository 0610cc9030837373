"""Mask scores against a second implementation, and for empty masks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bts.evaluation.metrics import TOLERANCE_PX, mask_scores, overlap_scores, surface_scores

SHAPE = (20, 24)


def dots(*points: tuple[int, int], shape: tuple[int, int] = SHAPE) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    for row, column in points:
        mask[row, column] = True
    return mask


def boundary(mask: np.ndarray) -> list[tuple[int, int]]:
    """Pixels of the mask with a 4-neighbour outside it, by looking at each: no erosion, no MONAI."""
    found = []
    for row, column in np.argwhere(mask):
        around = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
        inside = [0 <= r < mask.shape[0] and 0 <= c < mask.shape[1] and mask[r, c] for r, c in around]
        if not all(inside):
            found.append((row, column))
    return found


def brute_distances(first: np.ndarray, second: np.ndarray, spacing: tuple[float, float]) -> tuple[list[float], list[float]]:
    def directed(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> list[float]:
        return [min(math.hypot((r - s) * spacing[0], (c - d) * spacing[1]) for s, d in other) for r, c in one]

    a, b = boundary(first), boundary(second)
    return directed(a, b), directed(b, a)


def blob(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    center, radius = rng.uniform(5, 15, 2), rng.uniform(2, 6)
    round_part = (rows - center[0]) ** 2 + (columns - center[1]) ** 2 < radius**2
    return round_part ^ (rng.random(SHAPE) < 0.05)


@pytest.mark.parametrize("seed", range(8))
def test_overlap_is_what_counting_pixels_gives(seed: int) -> None:
    prediction, truth = blob(seed), blob(seed + 100)
    both = sum(bool(p and t) for p, t in zip(prediction.flat, truth.flat, strict=True))
    n_prediction, n_truth = int(prediction.sum()), int(truth.sum())
    scores = overlap_scores(prediction, truth)
    assert scores.dice == pytest.approx(2 * both / (n_prediction + n_truth), abs=1e-6)
    assert scores.iou == pytest.approx(both / (n_prediction + n_truth - both), abs=1e-6)
    assert scores.precision == pytest.approx(both / n_prediction, abs=1e-6)
    assert scores.recall == pytest.approx(both / n_truth, abs=1e-6)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 0.8)])
@pytest.mark.parametrize("seed", range(4))
def test_distances_are_what_brute_force_gives(seed: int, spacing: tuple[float, float]) -> None:
    prediction, truth = blob(seed), blob(seed + 50)
    forth, back = brute_distances(prediction, truth, spacing)
    scores = surface_scores(prediction, truth, tolerance=1.5, spacing=spacing)
    assert scores.hd95 == pytest.approx(max(np.percentile(forth, 95), np.percentile(back, 95)), abs=1e-4)
    assert scores.asd == pytest.approx(np.mean(forth + back), abs=1e-4)
    assert scores.surface_dice == pytest.approx(np.mean([d <= 1.5 for d in forth + back]), abs=1e-6)


def test_two_single_pixels_are_as_far_apart_as_they_are() -> None:
    scores = mask_scores(dots((3, 4)), dots((6, 8)))
    assert scores["dice"] == 0
    assert scores["hd95_px"] == pytest.approx(5)
    assert scores["asd_px"] == pytest.approx(5)
    assert scores["surface_dice"] == 0


def test_one_pixel_found_exactly_is_perfect_also_in_the_corner() -> None:
    scores = mask_scores(dots((0, 0)), dots((0, 0)))
    assert (scores["dice"], scores["iou"], scores["hd95_px"], scores["asd_px"], scores["surface_dice"]) == (1, 1, 0, 0, 1)


def test_a_pixel_within_the_tolerance_counts_for_the_surface_but_not_for_the_overlap() -> None:
    scores = mask_scores(dots((5, 5)), dots((5, 5 + int(TOLERANCE_PX))))
    assert scores["dice"] == 0
    assert scores["surface_dice"] == 1


def test_a_two_by_two_case_done_by_hand() -> None:
    prediction, truth = np.array([[1, 1], [0, 0]], bool), np.array([[1, 0], [1, 0]], bool)
    scores = overlap_scores(prediction, truth)
    assert scores == pytest.approx((0.5, 1 / 3, 0.5, 0.5))


def test_both_empty_is_a_perfect_answer() -> None:
    scores = mask_scores(dots(), dots())
    assert [scores[name] for name in ("dice", "iou", "precision", "recall", "surface_dice")] == [1] * 5
    assert (scores["hd95_px"], scores["asd_px"]) == (0, 0)


@pytest.mark.parametrize("prediction_is_empty", [True, False])
def test_one_empty_mask_gets_the_worst_value_and_never_nan(prediction_is_empty: bool) -> None:
    full = dots((4, 4), (4, 5))
    pair = (dots(), full) if prediction_is_empty else (full, dots())
    scores = mask_scores(*pair, spacing_mm=(2.0, 2.0))
    assert [scores[name] for name in ("dice", "iou", "precision", "recall", "surface_dice")] == [0] * 5
    assert scores["hd95_px"] == scores["asd_px"] == pytest.approx(math.hypot(*SHAPE))
    assert scores["hd95_mm"] == pytest.approx(2 * math.hypot(*SHAPE))


def test_millimetres_need_a_spacing_and_follow_it() -> None:
    first, second = dots((3, 3)), dots((3, 7))
    assert mask_scores(first, second)["hd95_mm"] is None
    assert mask_scores(first, second, spacing_mm=(3.0, 0.5))["hd95_mm"] == pytest.approx(2.0)


def test_masks_of_two_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="of one shape"):
        mask_scores(dots(), dots(shape=(5, 5)))
