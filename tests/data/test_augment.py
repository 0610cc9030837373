from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from bts.data.augment import Augmenter, AugmentParams, apply_augment, draw_params
from bts.errors import RequestError
from bts.settings import AugmentSettings

SIDE = 64
OFF = {"rotate": 0.0, "flip": False, "crop": 0.0}


def _settings(**values) -> AugmentSettings:
    """Everything off but what is named, on every slice."""
    return AugmentSettings(**{"share": 1.0, **OFF, **values})


def _disc() -> np.ndarray:
    """A mask of 0 and 1: a disc off the centre."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return ((rows - 25) ** 2 + (columns - 38) ** 2 < 12**2).astype(np.uint8)


def _scan() -> np.ndarray:
    """A smooth picture on a black ground."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    head = (rows - 31.5) ** 2 + (columns - 31.5) ** 2 < 26**2
    return (head * (80 + 2 * columns)).astype(np.uint8)


def _each(augmenter: Augmenter, n: int, *, image: np.ndarray, mask: np.ndarray, epoch: int = 0):
    return [augmenter(image, mask, epoch=epoch, index=index) for index in range(n)]


EVERYTHING = _settings(rotate=20.0, flip=True, crop=0.2, scale=0.2, shift=0.1, brightness=0.3)
ALONE = [
    _settings(rotate=30.0),
    _settings(flip=True),
    _settings(crop=0.3),
    _settings(scale=0.3),
    _settings(shift=0.2),
    _settings(brightness=0.3),
    _settings(flip_vertical=True),
    _settings(zoom_out=0.3),
    _settings(shear=15.0),
    _settings(shift=0.2, fill="nearest"),
]


def test_the_same_seed_epoch_and_index_give_the_same_slice() -> None:
    first, again = (_each(Augmenter(EVERYTHING, seed=3), 20, image=_scan(), mask=_disc()) for _ in range(2))
    for (image, mask), (other_image, other_mask) in zip(first, again, strict=True):
        assert (image == other_image).all()
        assert (mask == other_mask).all()


def test_the_order_of_calls_doesn_t_matter() -> None:
    augmenter = Augmenter(EVERYTHING, seed=3)
    forth = [augmenter(_scan(), _disc(), epoch=1, index=index)[0] for index in range(10)]
    back = [augmenter(_scan(), _disc(), epoch=1, index=index)[0] for index in reversed(range(10))]
    assert all((a == b).all() for a, b in zip(forth, reversed(back), strict=True))


@pytest.mark.parametrize("changed", [{"epoch": 1}, {"index": 1}, {"seed": 1}])
def test_seed_epoch_and_index_each_change_the_slice(changed: dict[str, int]) -> None:
    usual = {"seed": 0, "epoch": 0, "index": 0}

    def draw(seed: int, epoch: int, index: int) -> np.ndarray:
        return Augmenter(EVERYTHING, seed=seed)(_scan(), _disc(), epoch=epoch, index=index)[0]

    assert (draw(**usual) != draw(**{**usual, **changed})).any()


def test_nothing_outside_is_seeded_or_drawn_from() -> None:
    np.random.seed(7)
    expected = np.random.random(3)
    np.random.seed(7)
    _each(Augmenter(EVERYTHING, seed=0), 5, image=_scan(), mask=_disc())
    assert (np.random.random(3) == expected).all()


def test_the_input_is_left_as_it_is() -> None:
    image, mask = _scan(), _disc()
    image.flags.writeable = mask.flags.writeable = False  # arrays in memory are shared by all workers
    _each(Augmenter(EVERYTHING, seed=0), 20, image=image, mask=mask)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_the_share_of_varied_slices_is_honoured(share: float) -> None:
    """Within four standard deviations of the binomial: a true share fails once in 16,000 seeds, and the seed is fixed."""
    n = 600
    augmenter = Augmenter(AugmentSettings(share=share, rotate=15.0, crop=0.1, flip=True), seed=11)
    out = _each(augmenter, n, image=_scan(), mask=_disc())
    varied = sum(not ((image == _scan()).all() and (mask == _disc()).all()) for image, mask in out)
    assert abs(varied - n * share) <= 4 * np.sqrt(n * share * (1 - share))


def test_the_share_holds_over_epochs_of_one_slice_too() -> None:
    augmenter = Augmenter(AugmentSettings(share=0.5), seed=2)
    out = [augmenter(_scan(), _disc(), epoch=epoch, index=5)[0] for epoch in range(400)]
    assert abs(sum((image != _scan()).any() for image in out) - 200) <= 40


def test_a_flip_mirrors_left_to_right_every_second_time() -> None:
    out = _each(Augmenter(_settings(flip=True), seed=0), 400, image=_scan(), mask=_disc())
    mirrored = 0
    for image, mask in out:
        is_mirrored = bool((mask == _disc()[:, ::-1]).all())
        mirrored += is_mirrored
        assert (image == (_scan()[:, ::-1] if is_mirrored else _scan())).all()
        assert is_mirrored or (mask == _disc()).all()
    assert abs(mirrored - 200) <= 40


@pytest.mark.parametrize("settings", [EVERYTHING, *ALONE])
def test_the_mask_stays_binary_and_lies_on_the_picture(settings: AugmentSettings) -> None:
    """The picture is its own mask; brightness alone may dim it, so it is cut at half of its maximum."""
    disc = _disc()
    for image, mask in _each(Augmenter(settings, seed=5), 40, image=disc * np.uint8(255), mask=disc):
        assert image.shape == mask.shape == (SIDE, SIDE)
        assert image.dtype == mask.dtype == np.uint8
        assert set(np.unique(mask)) <= {0, 1}
        seen = image >= max(1, image.max() / 2)
        assert (seen & (mask == 1)).sum() / (seen | (mask == 1)).sum() > 0.95


@pytest.mark.parametrize("settings", ALONE)
def test_each_setting_varies_the_picture_by_itself(settings: AugmentSettings) -> None:
    out = _each(Augmenter(settings, seed=1), 10, image=_scan(), mask=_disc())
    assert any((image != _scan()).any() or (mask != _disc()).any() for image, mask in out)


def test_everything_off_changes_nothing() -> None:
    for image, mask in _each(Augmenter(_settings(), seed=0), 5, image=_scan(), mask=_disc()):
        assert (image == _scan()).all()
        assert (mask == _disc()).all()


def test_a_rotation_stays_within_its_angle() -> None:
    """A bar through the centre: its angle, from the second moments, is the rotation."""
    bar = np.zeros((SIDE, SIDE), dtype=np.uint8)
    bar[30:34, 8:56] = 1
    angles = []
    for _, mask in _each(Augmenter(_settings(rotate=15.0), seed=0), 60, image=bar * np.uint8(255), mask=bar):
        rows, columns = np.nonzero(mask)
        covariance = np.cov(columns, rows)
        angles.append(np.degrees(0.5 * np.arctan2(2 * covariance[0, 1], covariance[0, 0] - covariance[1, 1])))
        assert np.abs([rows.mean() - 31.5, columns.mean() - 31.5]).max() < 0.5
    assert 10 < max(angles) < 16
    assert -16 < min(angles) < -10


def test_a_crop_takes_away_no_more_than_its_share() -> None:
    """A crop of at most a quarter of each side magnifies areas by at most 1 / 0.75 squared."""
    areas = [mask.sum() for _, mask in _each(Augmenter(_settings(crop=0.25), seed=0), 60, image=_scan(), mask=_disc())]
    whole = _disc().sum()
    assert max(areas) <= 1.03 * whole / 0.75**2
    assert max(areas) > 1.3 * whole


def test_a_shift_stays_within_its_share_of_the_side() -> None:
    rows, columns = np.nonzero(_disc())
    moved = []
    for _, mask in _each(Augmenter(_settings(shift=0.1), seed=0), 60, image=_scan(), mask=_disc()):
        new_rows, new_columns = np.nonzero(mask)
        moved.append(np.abs([new_rows.mean() - rows.mean(), new_columns.mean() - columns.mean()]).max())
    assert 0.05 * SIDE < max(moved) <= 0.1 * SIDE + 0.5


def test_brightness_leaves_the_mask_and_keeps_the_ground_dark() -> None:
    for image, mask in _each(Augmenter(_settings(brightness=0.2), seed=0), 30, image=_scan(), mask=_disc()):
        assert (mask == _disc()).all()
        assert image[0, 0] <= 0.2 * _scan().mean() + 1
        assert abs(float(image.mean()) / _scan().mean() - 1) < 0.45


def test_another_size_in_between_is_no_trouble() -> None:
    augmenter = Augmenter(EVERYTHING, seed=0)
    large = np.zeros((96, 96), dtype=np.uint8)
    assert augmenter(_scan(), _disc(), epoch=0, index=0)[0].shape == (SIDE, SIDE)
    assert augmenter(large, large, epoch=0, index=0)[0].shape == (96, 96)


def test_a_copy_sent_to_another_process_draws_the_same() -> None:
    augmenter = Augmenter(EVERYTHING, seed=0)
    expected = augmenter(_scan(), _disc(), epoch=0, index=4)[0]
    copy = pickle.loads(pickle.dumps(augmenter))
    assert (copy(_scan(), _disc(), epoch=0, index=4)[0] == expected).all()


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(RequestError, match="seed -1: expected 0 or more"):
        Augmenter(AugmentSettings(), seed=-1)


def test_every_setting_is_covered_here() -> None:
    assert {field.name for field in fields(AugmentSettings)} == {
        *("share", *OFF, "flip_vertical", "scale", "zoom_out", "shift", "shear", "fill", "brightness")
    }


def test_importing_asks_no_network_and_warns_of_nothing() -> None:
    program = (
        "import socket, warnings\n"
        "warnings.simplefilter('error')\n"
        "def refuse(*_):\n    raise SystemExit('a connection was tried')\n"
        "socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refuse\n"
        "import bts.data.augment"
    )
    environment = {name: value for name, value in os.environ.items() if name != "NO_ALBUMENTATIONS_UPDATE"}
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=root, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_zooming_out_never_enlarges() -> None:
    disc = _disc()
    out = _each(Augmenter(_settings(zoom_out=0.4), seed=4), 40, image=disc * np.uint8(255), mask=disc)
    areas = [int(mask.sum()) for _, mask in out]
    assert max(areas) <= disc.sum() * 1.02
    assert min(areas) < disc.sum() * 0.7


def test_the_nearest_pixel_fills_what_a_shift_leaves_empty() -> None:
    even = np.full((SIDE, SIDE), 100, dtype=np.uint8)
    black, nearest = (Augmenter(_settings(shift=0.3, fill=fill), seed=1) for fill in ("black", "nearest"))
    assert any((image == 0).any() for image, _ in _each(black, 10, image=even, mask=_disc()))
    assert all((image == 100).all() for image, _ in _each(nearest, 10, image=even, mask=_disc()))


# ---- drawn parameters


def _drawn(settings: AugmentSettings, n: int = 2000) -> list[AugmentParams]:
    return [draw_params(settings, size=SIDE, rng=np.random.default_rng([0, i])) for i in range(n)]


ALL_ON = AugmentSettings(
    rotate=30.0, flip=True, crop=0.2, flip_vertical=True, scale=0.2, zoom_out=0.3, shift=0.15, shear=15.0, brightness=0.3
)


def test_drawn_parameters_stay_within_the_settings_and_reach_their_ends() -> None:
    drawn = _drawn(ALL_ON)
    crops = np.array([each.crop_px or (0, 0, SIDE) for each in drawn])
    assert (crops[:, 2].min(), crops[:, 2].max()) == (51, 64)  # 64 * 0.8 = 51.2
    assert crops[:, :2].min() == 0
    assert (crops[:, :2].max(axis=1) + crops[:, 2]).max() == SIDE
    for values, low, high in (
        ([each.rotate_deg for each in drawn], -30, 30),
        ([value for each in drawn for value in each.scale], 0.7, 1.2),
        ([value for each in drawn for value in each.shear_deg], -15, 15),
        ([each.contrast for each in drawn], 0.7, 1.3),
        ([each.brightness for each in drawn], -0.3, 0.3),
    ):
        margin = 0.01 * (high - low)
        assert low <= min(values) < low + margin
        assert high - margin < max(values) <= high
    assert {value for each in drawn for value in each.shift_px} == set(range(-9, 10))  # 64 * 0.15 = 9.6
    assert abs(np.mean([each.flip for each in drawn]) - 0.5) < 0.05
    assert abs(np.mean([each.flip_vertical for each in drawn]) - 0.5) < 0.05


def test_one_setting_does_not_change_what_is_drawn_for_the_others() -> None:
    without = _drawn(replace(ALL_ON, rotate=0.0, crop=0.0), 20)
    for one, other in zip(_drawn(ALL_ON, 20), without, strict=True):
        assert replace(one, rotate_deg=0.0, crop_px=None) == replace(other, rotate_deg=0.0)


# ---- applied parameters


def _noise() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (SIDE, SIDE)).astype(np.uint8), rng.integers(0, 2, (SIDE, SIDE)).astype(np.uint8)


def test_default_parameters_change_nothing() -> None:
    for found, given in zip(apply_augment(*_noise(), AugmentParams()), _noise(), strict=True):
        assert (found == given).all()


@pytest.mark.parametrize(("fill", "mode"), [("black", "constant"), ("nearest", "edge")])
def test_a_shift_by_whole_pixels_moves_every_pixel_exactly(fill: str, mode: str) -> None:
    params = AugmentParams(shift_px=(3, -2), fill=fill)  # type: ignore[arg-type]
    image, mask = apply_augment(*_noise(), params)
    expected = np.pad(_noise()[0], ((0, 2), (3, 0)), mode=mode)[2:, :SIDE]  # type: ignore[call-overload]
    assert (image == expected).all()
    assert (mask[:-2, 3:] == _noise()[1][2:, :-3]).all()


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_quarter_turn_is_exact(quarters: int) -> None:
    found = apply_augment(*_noise(), AugmentParams(rotate_deg=90.0 * quarters))
    for seen, array in zip(found, _noise(), strict=True):
        assert (seen == np.rot90(array, quarters)).all()


def test_flips_mirror_exactly() -> None:
    for params, turned in ((AugmentParams(flip=True), np.s_[:, ::-1]), (AugmentParams(flip_vertical=True), np.s_[::-1])):
        for seen, array in zip(apply_augment(*_noise(), params), _noise(), strict=True):
            assert (seen == array[turned]).all()


def test_a_crop_is_resized_to_the_whole_and_does_not_come_back() -> None:
    """A white frame around a grey square is cropped away; zoomed out, the square stands on black."""
    image = np.full((SIDE, SIDE), 255, dtype=np.uint8)
    image[16:48, 16:48] = 100
    found, _ = apply_augment(image, image // 255, AugmentParams(crop_px=(16, 16, 32), scale=(0.5, 0.5)))
    assert set(np.unique(found[17:47, 17:47])) == {100}
    assert found.max() == 100
    assert (found[:15] == 0).all()


def test_contrast_and_brightness_are_relative_to_the_slice() -> None:
    image = np.full((SIDE, SIDE), 100, dtype=np.uint8)
    image[:, :32] = 200  # mean 150
    assert (apply_augment(image, image // 200, AugmentParams(contrast=0.5))[0] == image / 2).all()
    assert (apply_augment(image, image // 200, AugmentParams(brightness=0.2))[0] == image + 30.0).all()
