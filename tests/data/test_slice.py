"""What a `Slice` accepts, and what it refuses whoever built it."""

from __future__ import annotations

import numpy as np
import pytest

from bts.data.slice import MAX_SIDE, Slice
from bts.errors import InputError

IMAGE = np.array([[1, 2, 3], [4, 5, 6]])


def test_image_becomes_contiguous_float32_and_mask_bool():
    found = Slice(image=IMAGE.T[::-1], source="file", path="a", mask=(IMAGE > 2).T)
    assert found.image.dtype == np.float32
    assert found.image.flags.c_contiguous
    assert found.mask.dtype == bool
    np.testing.assert_array_equal(found.image, [[3, 6], [2, 5], [1, 4]])


def test_values_are_not_scaled():
    np.testing.assert_array_equal(Slice(image=IMAGE * -700, source="file", path="a").image, IMAGE * -700)


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (1, 5), (5, 1), (0, 3)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(InputError, match=r"expected one grey slice \(rows, columns\), received an array of shape"):
        Slice(image=np.arange(np.prod(shape)).reshape(shape), source="file", path="a")


def test_too_long_a_side_is_refused():
    with pytest.raises(InputError, match=f"a side of {MAX_SIDE + 1} pixels: at most {MAX_SIDE} are accepted"):
        Slice(image=np.zeros((2, MAX_SIDE + 1), np.uint8), source="file", path="a")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused(value):
    with pytest.raises(InputError, match="NaN or infinite values: replace them before use"):
        Slice(image=np.array([[0, 1], [2, value]]), source="file", path="a")


def test_constant_picture_is_refused():
    with pytest.raises(InputError, match=r"constant \(every pixel is 0.5\): there is nothing to see in it"):
        Slice(image=np.full((3, 3), 0.5), source="file", path="a")


def test_mask_of_another_shape_is_refused():
    with pytest.raises(InputError, match=r"mask of shape \(3, 2\) on a picture of shape \(2, 3\): both must be equal"):
        Slice(image=IMAGE, source="file", path="a", mask=np.zeros((3, 2)))


def test_values_beyond_float32_are_refused() -> None:
    with pytest.raises(InputError, match="the picture holds NaN or infinite values"):
        Slice(image=np.array([[0, 1e300], [1, 2]]), source="file", path="a")


def test_values_that_float32_can_not_tell_apart_are_constant() -> None:
    with pytest.raises(InputError, match="the picture is constant"):
        Slice(image=np.array([[2**40, 2**40 + 1], [2**40, 2**40]]), source="file", path="a")
