from __future__ import annotations

import json

import numpy as np
import pytest

from bts.data.preprocess import Preprocessing, percentiles
from bts.errors import RequestError

SHAPES = [(512, 512), (256, 256), (224, 224), (64, 64), (300, 512), (201, 100), (97, 256), (16, 16), (3, 5), (2, 300)]
SYMMETRIES = [np.transpose, np.fliplr, np.flipud, np.rot90]


def _blob(shape: tuple[int, int], row: float, column: float, sigma: float) -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * sigma**2)).astype(np.float32)


def _centre(values: np.ndarray) -> np.ndarray:
    rows, columns = np.mgrid[: values.shape[0], : values.shape[1]]
    return np.array([(rows * values).sum(), (columns * values).sum()]) / values.sum()


def _on_picture(centre: np.ndarray, shape: tuple[int, int], size: int) -> np.ndarray:
    """Return where a point of the square lies on the picture: centres of pixels are at half numbers of a side."""
    side = max(shape)
    return (centre + 0.5) * side / size - 0.5 - (side - np.array(shape)) / 2


# ---- picture


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_becomes_a_square_of_bytes(shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).normal(1000, 300, shape)
    square = Preprocessing(size=64, crop_brain=False).image(picture)
    assert square.shape == (64, 64)
    assert square.dtype == np.uint8
    assert square.any()


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.uint8, np.int64, np.float64, np.float32])
def test_the_type_of_the_numbers_doesn_t_matter(dtype: type) -> None:
    picture = np.arange(64 * 64).reshape(64, 64) % 251
    expected = Preprocessing(size=64, crop_brain=False).image(picture)
    assert (Preprocessing(size=64, crop_brain=False).image(picture.astype(dtype)) == expected).all()


@pytest.mark.parametrize(("factor", "offset"), [(1e-6, 0.0), (3.5, -4000.0), (1e30, 0.0), (257, 100)])
def test_gain_and_offset_of_the_scanner_don_t_matter(factor: float, offset: float) -> None:
    picture = np.random.default_rng(1).random((100, 100))
    expected = Preprocessing(size=64, crop_brain=False).image(picture).astype(int)
    again = Preprocessing(size=64, crop_brain=False).image(picture * factor + offset).astype(int)
    assert np.abs(again - expected).max() <= 1


def test_the_window_runs_from_the_low_to_the_high_percentile() -> None:
    """Values 0 to 4095, each once: the 25th and 75th percentiles are 1023.75 and 3071.25."""
    picture = np.random.default_rng(0).permutation(64 * 64).reshape(64, 64)
    square = Preprocessing(size=64, low_percentile=25, high_percentile=75, crop_brain=False).image(picture)
    assert (square == np.rint(np.clip((picture - 1023.75) / 2047.5, 0, 1) * 255)).all()


def test_one_wild_pixel_doesn_t_darken_the_picture() -> None:
    picture = np.random.default_rng(0).integers(0, 1000, (64, 64)).astype(float)
    wild = picture.copy()
    wild[3, 3] = 1e6
    difference = np.abs(
        Preprocessing(size=64, crop_brain=False).image(wild).astype(int)
        - Preprocessing(size=64, crop_brain=False).image(picture).astype(int)
    )
    assert np.delete(difference.ravel(), 3 * 64 + 3).max() <= 2


def test_a_few_bright_pixels_on_an_even_ground_are_seen() -> None:
    picture = np.full((64, 64), 7.0)
    picture[10, 20] = 9.0
    square = Preprocessing(size=64, crop_brain=False).image(picture)
    assert square[10, 20] == 255
    assert square.sum() == 255


def test_a_constant_picture_is_black() -> None:
    assert not Preprocessing(size=64, crop_brain=False).image(np.full((50, 50), 3.0)).any()


def test_padding_is_the_low_end_and_symmetric() -> None:
    picture = np.full((32, 64), 500.0)
    picture[:, ::2] = 900.0
    square = Preprocessing(size=64, crop_brain=False).image(picture)
    assert not square[:16].any()
    assert not square[48:].any()
    assert (square[16:48] == np.where(np.arange(64) % 2 == 0, 255, 0)).all()


def test_a_fine_pattern_is_averaged_not_aliased() -> None:
    """Lines one pixel wide at half the size: a picture without antialiasing would be white or black somewhere."""
    picture = np.tile([0.0, 1.0], (128, 64))
    square = Preprocessing(size=64, low_percentile=0, high_percentile=100, crop_brain=False).image(picture)
    assert np.abs(square[:, 2:-2].astype(int) - 128).max() <= 1


@pytest.mark.parametrize("symmetry", SYMMETRIES)
@pytest.mark.parametrize("shape", [(512, 512), (256, 256), (101, 160), (160, 101)])
def test_a_mirrored_or_turned_picture_gives_the_mirrored_or_turned_square(shape: tuple[int, int], symmetry) -> None:
    """Within one grey level: the two directions are scaled one after the other, in 32 bits."""
    picture = np.random.default_rng(0).random(shape)
    preprocessing = Preprocessing(crop_brain=False)
    expected = symmetry(preprocessing.image(picture)).astype(int)
    found = preprocessing.image(symmetry(picture)).astype(int)
    assert np.abs(found - expected).max() <= 1
    assert (found != expected).mean() < 0.001


# ---- mask


@pytest.mark.parametrize("shape", SHAPES)
def test_a_mask_has_the_square_s_shape_and_two_values(shape: tuple[int, int]) -> None:
    mask = np.zeros(shape, dtype=bool)
    mask[: shape[0] // 2 + 1] = True
    square = Preprocessing(size=64, crop_brain=False).mask(mask)
    assert square.shape == (64, 64)
    assert square.dtype == bool


def test_a_mask_scaled_by_two_is_the_mask_of_its_majorities() -> None:
    mask = np.zeros((64, 64), dtype=bool)
    mask[0:2, 0:2] = True  # four of four
    mask[2, 2:4] = True  # two of four: a half counts
    mask[4, 4] = True  # one of four
    square = Preprocessing(size=32, crop_brain=False).mask(mask)
    assert np.argwhere(square).tolist() == [[0, 0], [1, 1]]


@pytest.mark.parametrize("shape", [(512, 512), (256, 256), (400, 512), (511, 300)])
def test_a_mask_keeps_its_share_and_place(shape: tuple[int, int]) -> None:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    mask = (rows - shape[0] * 0.4) ** 2 + (columns - shape[1] * 0.6) ** 2 < (min(shape) / 9) ** 2
    square = Preprocessing(crop_brain=False).mask(mask)
    side = max(shape)
    assert square.mean() * side**2 == pytest.approx(mask.sum(), rel=0.02)
    assert np.abs(_on_picture(_centre(square), shape, 224) - _centre(mask)).max() < 0.5


@pytest.mark.parametrize("side", [512, 256, 300, 100])
def test_masks_are_neither_larger_nor_smaller_on_the_whole(side: int) -> None:
    """Sixty ellipses: a rule that took every half-covered pixel in or out would bend all areas the same way."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side] / side - 0.5
    preprocessing = Preprocessing(crop_brain=False)
    ratios = []
    for _ in range(60):
        (row, column), radius, stretch = random.uniform(-0.2, 0.2, 2), random.uniform(0.05, 0.12), random.uniform(0.6, 1.6)
        mask = (rows - row) ** 2 * stretch + (columns - column) ** 2 / stretch < radius**2
        ratios.append(preprocessing.mask(mask).mean() / mask.mean())
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.005)


def test_a_band_that_ends_inside_of_a_pixel_takes_its_share() -> None:
    """From 48 pixels to 32, a pixel of the square is one and a half wide."""
    mask = np.zeros((48, 48), dtype=bool)
    mask[:, 0] = True  # pixel 0 of the square covers 0 to 1.5: two thirds
    mask[:, 4] = True  # pixels 2 (3 to 4.5) and 3 (4.5 to 6): a third each, too little for either
    mask[:, 9:11] = True  # pixel 6 (9 to 10.5): all; pixel 7 (10.5 to 12): a third
    square = Preprocessing(size=32, crop_brain=False).mask(mask)
    assert np.flatnonzero(square[5]).tolist() == [0, 6]


def test_a_mask_of_one_pixel_survives_wherever_it_is() -> None:
    preprocessing = Preprocessing(crop_brain=False)
    for row, column in [(0, 0), (511, 511), (100, 307), (256, 255), (3, 508), (16, 16), (7, 7)]:
        mask = np.zeros((512, 512), dtype=bool)
        mask[row, column] = True
        kept = np.argwhere(preprocessing.mask(mask))
        assert 1 <= len(kept) <= 4, (row, column)
        assert np.abs(_on_picture(kept.mean(axis=0), (512, 512), 224) - (row, column)).max() <= 512 / 224


def test_an_empty_mask_stays_empty_and_a_full_one_full() -> None:
    preprocessing = Preprocessing(size=64, crop_brain=False)
    assert not preprocessing.mask(np.zeros((100, 100), dtype=bool)).any()
    assert preprocessing.mask(np.ones((100, 100), dtype=bool)).all()


def test_padding_is_outside_of_every_mask() -> None:
    square = Preprocessing(size=64, crop_brain=False).mask(np.ones((32, 64), dtype=bool))
    assert square[16:48].all()
    assert square.sum() == 32 * 64


@pytest.mark.parametrize("symmetry", SYMMETRIES)
@pytest.mark.parametrize("shape", [(512, 512), (101, 160), (60, 60)])
def test_a_mirrored_or_turned_mask_gives_exactly_the_mirrored_or_turned_square(shape: tuple[int, int], symmetry) -> None:
    random = np.random.default_rng(0)
    preprocessing = Preprocessing(crop_brain=False)
    for density in (0.5, 0.001):
        mask = random.random(shape) < density
        assert (preprocessing.mask(symmetry(mask)) == symmetry(preprocessing.mask(mask))).all()


@pytest.mark.parametrize("shape", [(512, 512), (300, 201), (40, 50)])
def test_picture_and_mask_lie_on_each_other(shape: tuple[int, int]) -> None:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    mask = (rows - shape[0] / 3) ** 2 + (columns - shape[1] / 2) ** 2 < (min(shape) / 6) ** 2
    preprocessing = Preprocessing(low_percentile=0, high_percentile=100, crop_brain=False)
    seen = preprocessing.image(mask.astype(float)) >= 128
    square = preprocessing.mask(mask, box=preprocessing.box(mask.astype(float)))
    assert (seen & square).sum() / (seen | square).sum() > 0.95


# ---- and back


@pytest.mark.parametrize("shape", [(512, 512), (256, 256), (64, 64), (300, 512), (201, 100), (97, 256)])
@pytest.mark.parametrize("place", [(0.5, 0.5), (0.3, 0.6)])
def test_restore_brings_a_blob_back_within_half_a_pixel(shape: tuple[int, int], place: tuple[float, float]) -> None:
    row, column = place[0] * shape[0], place[1] * shape[1]
    picture = _blob(shape, row, column, sigma=min(shape) / 12)
    preprocessing = Preprocessing(low_percentile=0, high_percentile=100, crop_brain=False)
    back = preprocessing.restore(preprocessing.image(picture).astype(np.float32) / 255, shape)
    assert back.shape == shape
    assert back.dtype == np.float32
    assert np.abs(_centre(back) - _centre(picture)).max() < 0.5
    assert np.abs(back - picture).max() < 0.12


@pytest.mark.parametrize("shape", [(512, 512), (300, 512), (100, 61)])
def test_a_mask_comes_back_nearly_as_it_was(shape: tuple[int, int]) -> None:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    mask = (rows - shape[0] * 0.4) ** 2 + (columns - shape[1] * 0.6) ** 2 < (min(shape) / 6) ** 2
    preprocessing = Preprocessing(crop_brain=False)
    back = preprocessing.restore(preprocessing.mask(mask).astype(np.float32), shape) >= 0.5
    assert (back & mask).sum() / (back | mask).sum() > 0.95


@pytest.mark.parametrize("shape", SHAPES)
def test_restore_keeps_a_constant_map_and_can_be_written_to(shape: tuple[int, int]) -> None:
    back = Preprocessing(size=64, crop_brain=False).restore(np.full((64, 64), 0.25, dtype=np.float32), shape)
    np.testing.assert_allclose(back, np.full(shape, 0.25), atol=1e-6)
    back[0, 0] = 1.0


def test_restore_at_the_same_size_changes_nothing() -> None:
    values = np.random.default_rng(0).random((64, 64)).astype(np.float32)
    assert (Preprocessing(size=64, crop_brain=False).restore(values, (64, 64)) == values).all()


def test_restore_takes_a_coarse_map_of_any_side() -> None:
    """A Grad-CAM is 7 x 7: its corner still is the picture's corner."""
    coarse = np.zeros((7, 7), dtype=np.float32)
    coarse[0, 6] = 1.0
    back = Preprocessing(size=224, crop_brain=False).restore(coarse, (100, 100))
    assert back[0, 99] == back.max() == pytest.approx(1.0)
    assert back[:, :50].max() == 0
    assert back[50:].max() == 0


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_a_mirrored_or_turned_map_comes_back_mirrored_or_turned(symmetry) -> None:
    values = np.random.default_rng(0).random((64, 64)).astype(np.float32)
    shape = (101, 160)
    expected = symmetry(Preprocessing(size=64, crop_brain=False).restore(values, shape))
    found = Preprocessing(size=64, crop_brain=False).restore(symmetry(values), expected.shape)
    assert np.abs(found - expected).max() < 1e-5


# ---- settings


def test_the_dictionary_gives_it_back_through_json() -> None:
    preprocessing = Preprocessing(size=96, low_percentile=1.0, high_percentile=99.0, crop_brain=False)
    assert Preprocessing.from_dict(json.loads(json.dumps(preprocessing.to_dict()))) == preprocessing


def test_unknown_and_missing_fields_are_named() -> None:
    with pytest.raises(RequestError, match=r"^preprocessing: unknown field 'gamma'; field 'high_percentile' is missing"):
        Preprocessing.from_dict({"size": 224, "low_percentile": 0.5, "gamma": 2.0})


@pytest.mark.parametrize("size", [0, -32, 33, 100, 16, 224.0, True, "224"])
def test_a_side_that_is_no_multiple_of_32_is_refused(size) -> None:
    with pytest.raises(RequestError, match=r"^size: expected a multiple of 32 from 32 to 1024, received "):
        Preprocessing(size=size, crop_brain=False)


@pytest.mark.parametrize(("low", "high"), [(-1, 99), (50, 50), (60, 40), (0, 101), (float("nan"), 99)])
def test_percentiles_out_of_order_are_refused(low: float, high: float) -> None:
    with pytest.raises(
        RequestError,
        match=r"low_percentile: expected a number from|high_percentile: expected (low < high|a number from 0 to 100)",
    ):
        Preprocessing(low_percentile=low, high_percentile=high, crop_brain=False)


@pytest.mark.parametrize("values", [{"low_percentile": "0.5"}, {"high_percentile": None}, {"size": "big"}])
def test_a_field_of_another_type_is_refused(values: dict) -> None:
    with pytest.raises(RequestError, match=next(iter(values)).split("_")[-1]):
        Preprocessing.from_dict({**Preprocessing(crop_brain=False).to_dict(), **values})


def test_an_offset_moves_a_coarse_map_and_continues_it_at_the_border():
    coarse = np.arange(16, dtype=np.float32).reshape(4, 4)
    plain = Preprocessing(size=32, crop_brain=False).restore(coarse, (32, 32))
    moved = Preprocessing(size=32, crop_brain=False).restore(coarse, (32, 32), offset_px=-8.0)
    assert np.allclose(moved[:24, :24], plain[8:, 8:], atol=1e-4)
    assert np.allclose(moved[24:, 24:], coarse[-1, -1], atol=1e-4)


PERCENTS = [0, 0.5, 2.5, 50, 99.5, 100]
VALUES = {
    "bytes": lambda random: random.integers(0, 256, (61, 53)),
    "a scanner's numbers": lambda random: random.gamma(2, 300, (512, 512)).round(),
    "below zero": lambda random: random.normal(-1000, 200, (40, 40)).round(),
    "mostly ground": lambda random: (random.random((90, 90)) > 0.995) * 77,
    "two values": lambda random: np.arange(4).reshape(2, 2) > 1,
    "fractions": lambda random: random.normal(0, 1, (50, 50)),
    "a wide range": lambda random: random.integers(0, 10**6, (50, 50)),
    "huge numbers": lambda random: random.integers(0, 9, (50, 50)) * 2.0**40,
}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("seed", range(5))
def test_percentiles_are_numpys_to_the_last_bit(name: str, seed: int) -> None:
    picture = np.asarray(VALUES[name](np.random.default_rng(seed)), np.float32)
    for each in (picture, picture[::2, ::2], picture.T):
        assert np.array_equal(percentiles(each, PERCENTS), np.percentile(each, PERCENTS))


def test_percentiles_of_whole_numbers_are_counted_and_not_sorted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "percentile", lambda *_: pytest.fail("sorted"))
    assert percentiles(np.array([[3, 1], [2, 5]], np.float32), [0, 100]).tolist() == [1, 5]


def slice_with_texture() -> np.ndarray:
    """A picture whose content reaches its border."""
    return np.random.default_rng(0).integers(1, 200, (60, 48)).astype(np.float32)


@pytest.mark.parametrize("margins", [((30, 30), (24, 24)), ((0, 40), (50, 10))])
@pytest.mark.parametrize("value", [0, 255, -7])
def test_wide_constant_margins_change_neither_input_nor_answer(margins, value):
    array, preprocessing = slice_with_texture(), Preprocessing(size=32, crop_brain=False)
    padded = np.pad(array, margins, constant_values=value)
    np.testing.assert_array_equal(preprocessing.image(padded), preprocessing.image(array))
    box = preprocessing.box(padded)
    assert box == (margins[0][0], margins[1][0], margins[0][0] + 60, margins[1][0] + 48)
    mask = array > 100
    square = preprocessing.mask(np.pad(mask, margins), box=box)
    np.testing.assert_array_equal(square, preprocessing.mask(mask))
    values = np.random.default_rng(1).random((32, 32)).astype(np.float32)
    restored = preprocessing.restore(values, padded.shape, box=box)
    np.testing.assert_array_equal(box.cut(restored), preprocessing.restore(values, array.shape))
    assert restored.sum() == pytest.approx(box.cut(restored).sum())


@pytest.mark.parametrize("margin", [1, 10])
def test_margins_as_pictures_have_them_are_kept(margin):
    padded = np.pad(slice_with_texture(), margin)
    assert Preprocessing(size=32, crop_brain=False).box(padded) == (0, 0, *padded.shape)


def test_a_small_bright_spot_and_an_uneven_border_are_no_padding():
    array = np.zeros((100, 100), np.float32)
    array[40:50, 40:50] = 9
    assert Preprocessing(size=32, crop_brain=False).box(array) == (0, 0, 100, 100)
    padded = np.pad(slice_with_texture(), 30)
    padded[0, 0] = 1
    assert Preprocessing(size=32, crop_brain=False).box(padded) == (0, 0, *padded.shape)
    assert Preprocessing(size=32, crop_brain=False).box(np.zeros((9, 9))) == (0, 0, 9, 9)
