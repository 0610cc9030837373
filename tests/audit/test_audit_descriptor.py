"""Image descriptors: orientation, contrast, and degenerate views."""

from __future__ import annotations

import numpy as np
import pytest

from bts.audit.descriptor import COARSE, FINE, ORIENTATIONS, compose, describe, inverse, orient, ranks, turn

ALL = range(len(ORIENTATIONS))


@pytest.fixture(scope="module")
def views():
    rough = np.random.default_rng(0).random((5, 6, 6))
    return np.kron(rough, np.ones((4, 4))) * 255


def test_the_eight_orientations_differ():
    square = np.arange(4).reshape(2, 2)
    assert len({orient(square, each).tobytes() for each in ALL}) == 8


def test_orientation_names_say_what_is_done():
    square = np.array([[1, 2], [3, 4]])
    turned = {name: orient(square, i).tolist() for i, name in enumerate(ORIENTATIONS)}
    assert turned["mirrored"] == [[2, 1], [4, 3]]
    assert turned["upside_down"] == [[3, 4], [1, 2]]
    assert turned["rotated_180"] == np.rot90(square, 2).tolist()
    assert turned["rotated_90"] == np.rot90(square, -1).tolist()  # numpy counts against the clock
    assert turned["rotated_270"] == np.rot90(square, 1).tolist()
    assert turned["transposed"] == square.T.tolist()


@pytest.mark.parametrize("orientation", ALL)
def test_the_inverse_turns_back(orientation):
    square = np.arange(4).reshape(2, 2)
    np.testing.assert_array_equal(orient(orient(square, orientation), inverse(orientation)), square)
    assert compose(orientation, inverse(orientation)) == 0


@pytest.mark.parametrize("first", ALL)
@pytest.mark.parametrize("then", ALL)
def test_two_turns_compose_to_one(first, then):
    square = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(orient(square, compose(first, then)), orient(orient(square, first), then))


@pytest.mark.parametrize("frequencies", [COARSE, FINE])
@pytest.mark.parametrize("orientation", ALL)
def test_turning_the_descriptor_equals_describing_the_turned_picture(views, orientation, frequencies):
    expected = describe(orient(views, orientation), frequencies=frequencies)
    found = turn(describe(views, frequencies=frequencies), orientation, frequencies=frequencies)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_descriptors_have_unit_length_and_ignore_gamma(views):
    one, other = describe(views), describe((views / 255) ** 0.5 * 255)
    np.testing.assert_allclose(np.linalg.norm(one, axis=1), 1, atol=1e-5)
    assert ((one * other).sum(1) > 0.99).all()


def test_equal_pixels_share_their_middle_rank():
    np.testing.assert_allclose(ranks(np.array([[[0, 0], [0, 9]]]))[0], [[0.375, 0.375], [0.375, 0.875]])


def test_a_constant_view_has_a_descriptor_of_zeros():
    np.testing.assert_array_equal(describe(np.full((1, 24, 24), 7.0)), 0)
