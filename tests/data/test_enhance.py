from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import ndimage

from bts.data.enhance import Box, equalise, head_box, sharpen, whole
from bts.data.preprocess import Preprocessing
from bts.errors import RequestError
from bts.settings import DataSettings

CROP = Preprocessing(size=64, low_percentile=0, high_percentile=100, crop_brain=True)


def _head(shape: tuple[int, int] = (200, 160), *, seed: int = 0) -> np.ndarray:
    """An ellipse of texture at rows 60 to 139 and columns 50 to 109 on a black ground, and a small bright spot far from it."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    texture = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), 3)
    texture = (texture - texture.min()) / np.ptp(texture)
    inside = ((rows - 99.5) / 40) ** 2 + ((columns - 79.5) / 30) ** 2 <= 1
    picture = np.where(inside, 120 + 120 * texture, 0)
    picture[5:9, 5:9] = 255
    return picture


# ---- the crop to the head


def test_the_box_lies_around_the_largest_component() -> None:
    """The smoothing may move an edge by two pixels."""
    assert np.abs(np.array(head_box(_head())) - (60, 50, 140, 110)).max() <= 2


@pytest.mark.parametrize("pads", [(0, 0, 90, 10), (200, 0, 0, 0), (60, 60, 150, 150)])
def test_margins_do_not_change_the_crop(pads: tuple[int, int, int, int]) -> None:
    """Black margins around a picture, also one whose head touches its border: same box, same network input."""
    above, below, left, right = pads
    for picture in (_head(), _head()[60:140, 50:110], _head()[60:, :110]):
        padded = np.pad(picture, ((above, below), (left, right)))
        box, again = np.array(head_box(picture)), np.array(head_box(padded)) - (above, left, above, left)
        assert np.abs(box - again).max() <= 1
        difference = CROP.image(picture).astype(int) - CROP.image(padded)
        assert np.abs(difference).mean() < 6


@pytest.mark.parametrize(("factor", "offset"), [(0.01, 0.0), (30.0, 0.0), (5.0, 700.0)])
def test_the_intensity_scale_does_not_change_the_crop(factor: float, offset: float) -> None:
    """A 16-bit scan, a scan in [0, 1] and one whose background is not 0 have the box of the 8-bit picture."""
    assert np.abs(np.array(head_box(_head() * factor + offset)) - np.array(head_box(_head()))).max() <= 1


def test_a_very_bright_tumour_does_not_hide_the_head() -> None:
    picture = _head()
    picture[95:115, 70:85] = 2500
    assert np.abs(np.array(head_box(picture)) - (60, 50, 140, 110)).max() <= 3


@pytest.mark.parametrize("picture", [np.zeros((50, 60)), np.pad(np.full((4, 4), 255.0), 40)])
def test_a_picture_without_a_head_keeps_its_whole_frame(picture: np.ndarray) -> None:
    assert head_box(picture) == whole(picture.shape)


def test_without_a_crop_the_box_is_the_picture() -> None:
    picture = _head()
    picture[0, 0] += 1  # an uneven border is no padding
    assert Preprocessing(size=64, crop_brain=False).box(picture) == Box(0, 0, 200, 160)


def test_cropped_picture_and_mask_show_the_same_place() -> None:
    picture, spot = _head(), np.zeros((200, 160), dtype=bool)
    spot[95:115, 70:85] = True
    square = CROP.image(np.where(spot, 255, np.minimum(picture, 150)))
    mask = CROP.mask(spot, box=CROP.box(picture))
    bright = square > 200
    assert (bright & mask).sum() / (bright | mask).sum() > 0.85
    assert mask.sum() > 1.5 * Preprocessing(size=64, crop_brain=False).mask(spot).sum()  # the head fills more of the square


def test_restoring_undoes_the_crop() -> None:
    picture, spot = _head(), np.zeros((200, 160), dtype=bool)
    spot[80:120, 60:95] = True
    box = CROP.box(picture)
    back = CROP.restore(CROP.mask(spot, box=box).astype(np.float32), spot.shape, box=box) > 0.5
    assert (back & spot).sum() / (back | spot).sum() > 0.9


def test_a_restored_map_is_zero_outside_of_the_box() -> None:
    box = CROP.box(_head())
    back = CROP.restore(np.ones((64, 64), dtype=np.float32), (200, 160), box=box)
    assert back.shape == (200, 160)
    assert (box.cut(back) > 0.99).all()
    assert back.sum() == pytest.approx(box.cut(back).sum())


# ---- contrast and sharpness


def test_clahe_is_near_opencv_s_at_its_usual_setting() -> None:
    """clip_limit 0.01 on tiles of 28 px against OpenCV's 2.0 on 8 x 8 tiles: nearer than limits of half and twice as much.

    On slices of a public four-class set the two are 2 to 5 of 255 grey values apart where the plain picture is 15 to 20.
    """
    cv2 = pytest.importorskip("cv2")
    head = _head((224, 224))
    expected = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(head.astype(np.uint8)).astype(float)
    apart = {limit: np.abs(equalise(head, clip_limit=limit, tiles=8) - expected).mean() for limit in (0.005, 0.01, 0.02)}
    assert apart[0.01] < 6
    assert apart[0.01] < min(apart[0.005], apart[0.02])


def test_clahe_leaves_an_even_picture_alone() -> None:
    assert not equalise(np.zeros((64, 64), dtype=np.float32), clip_limit=0.01, tiles=8).any()


def test_sharpening_is_the_weighted_sum_that_notebooks_write() -> None:
    cv2 = pytest.importorskip("cv2")
    square = _head((64, 64)).astype(np.uint8)
    expected = cv2.addWeighted(square, 1.5, cv2.GaussianBlur(square, (0, 0), 1.5), -0.5, 0)
    found = sharpen(square.astype(np.float32), amount=0.5, sigma_px=1.5)
    assert np.abs(found - expected).max() <= 2  # OpenCV cuts its kernel earlier and rounds in between


def test_all_of_it_makes_bytes_that_differ_from_the_plain_ones() -> None:
    picture = _head()
    plain = Preprocessing(size=64, crop_brain=False).image(picture)
    for change in ({"clahe_clip_limit": 0.01}, {"sharpen_amount": 0.5}, {"crop_brain": True}):
        square = Preprocessing(**{"size": 64, "crop_brain": False} | change).image(picture)
        assert square.dtype == np.uint8
        assert square.shape == (64, 64)
        assert (square != plain).any()


# ---- what a model folder says of it


def test_what_is_on_comes_back() -> None:
    one = Preprocessing(crop_brain=True, clahe_clip_limit=0.01, clahe_tiles=4, sharpen_amount=0.5, sharpen_sigma_px=2.0)
    assert Preprocessing.from_dict(json.loads(json.dumps(one.to_dict()))) == one


def test_settings_reach_the_preprocessing_by_name() -> None:
    assert Preprocessing.of(DataSettings(size=64, crop_brain=True, sharpen_amount=0.5)) == Preprocessing(
        size=64, crop_brain=True, sharpen_amount=0.5
    )


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"clahe_clip_limit": -1}, "clahe_clip_limit: expected a number from 0 to 1, received -1"),
        ({"clahe_tiles": 0}, "clahe_tiles: expected a whole number from 1 to 256, received 0"),
        ({"clahe_tiles": 99}, "clahe_tiles: expected 56 or fewer at size 224, received 99"),
        ({"sharpen_amount": -0.5}, "sharpen_amount: expected a number from 0 to 10, received -0.5"),
        ({"sharpen_sigma_px": 0}, "sharpen_sigma_px: expected a number above 0 and up to 32, received 0"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        Preprocessing(**wrong)
