"""Panels, sheets and the confusion matrix."""

from __future__ import annotations

import numpy as np

from bts.training.pictures import (
    CELL,
    LINE,
    PREDICTION,
    TRUTH,
    add_caption,
    choose_slices,
    class_panel,
    contact_sheet,
    mask_panel,
    matrix_picture,
    with_contour,
)

GREY = np.full((160, 160), 90, dtype=np.uint8)
SQUARE = np.zeros((160, 160), dtype=bool)
SQUARE[40:60, 50:80] = True


def coloured(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (picture == colour).all(-1)


def test_a_contour_is_the_edge_of_the_mask_and_nothing_inside_it() -> None:
    drawn = coloured(with_contour(GREY, SQUARE, TRUTH), TRUTH)
    edge = SQUARE.copy()
    edge[41:59, 51:79] = False
    assert np.array_equal(drawn, edge)


def test_a_panel_shows_scan_truth_and_prediction_side_by_side() -> None:
    panel = mask_panel(GREY, SQUARE, np.roll(SQUARE, 20, axis=0), text="glioma")[-160:]
    scan, truth, prediction = np.split(panel, 3, axis=1)
    assert (scan == 90).all()
    assert np.flatnonzero(coloured(truth, TRUTH).any(1))[[0, -1]].tolist() == [40, 59]
    assert np.flatnonzero(coloured(prediction, PREDICTION).any(1))[[0, -1]].tolist() == [60, 79]


def test_a_wrong_class_is_written_in_another_colour() -> None:
    right, wrong = (class_panel(GREY, truth="glioma", predicted=name, probability=0.9) for name in ("glioma", "pituitary"))
    redness = [int(panel[:LINE, :, 0].max()) - int(panel[:LINE, :, 2].max()) for panel in (right, wrong)]
    assert redness[0] == 0
    assert redness[1] > 50


def test_small_pictures_are_enlarged_under_a_caption() -> None:
    assert add_caption(np.zeros((32, 32, 3), dtype=np.uint8), "x").shape == (160 + LINE, 160, 3)
    assert add_caption(np.zeros((224, 224, 3), dtype=np.uint8), "x").shape == (224 + LINE, 224, 3)
    assert add_caption(np.zeros((320, 960, 3), dtype=np.uint8), "x").shape == (
        320 + 32,
        960,
        3,
    )  # of three parts: a larger line


def test_a_sheet_has_room_for_every_panel() -> None:
    panels = [np.full((4, 6, 3), value, dtype=np.uint8) for value in (10, 20, 30, 40, 50)]
    page = contact_sheet(panels, columns=2)
    assert page.shape == (12, 12, 3)
    assert page[9, 1, 0] == 50
    assert [page[row, column, 0] for row, column in ((1, 1), (1, 7), (5, 1), (5, 7))] == [10, 20, 30, 40]


def test_the_matrix_is_shaded_by_the_share_of_each_row() -> None:
    page = matrix_picture(np.array([[4, 0], [1, 1]]), ["yes", "no"], cell=88)
    corner = [[tuple(page[40 + i * 88 + 2, 100 + j * 88 + 2]) for j in range(2)] for i in range(2)]
    assert corner[0][0] == CELL
    assert corner[0][1] == (24, 24, 24)
    assert corner[1][0] == corner[1][1] != CELL


def test_the_slices_to_look_at_take_the_classes_in_turn_from_small_to_large() -> None:
    labels, sizes = np.array([0, 0, 0, 1, 1, 1]), np.array([3, 1, 2, 9, 7, 8])
    assert choose_slices(labels, sizes, 4) == [1, 4, 0, 3]
    assert choose_slices(labels, sizes, 2) == [2, 5]  # the middle ones
    assert len(choose_slices(labels, sizes, 50)) == 6


def test_a_class_with_few_slices_leaves_room_for_none_twice() -> None:
    assert choose_slices(np.array([0, 1, 1, 1, 1]), np.arange(5), 4) == [0, 2, 4]
