from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from bts.data.augment import CHANCES, DOMAIN, Augmenter, AugmentParams, apply_augment, bias_field, draw_params
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
        *("share", *OFF, "flip_vertical", "scale", "zoom_out", "shift", "shear", "fill", "brightness", "preset"),
        *("remove_tumour", "paste_tumour"),  # tests/data/test_counterfactual.py
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


# ---- the preset of appearances


def test_the_preset_stays_within_its_ranges_and_reaches_their_ends() -> None:
    """Lengths are in pixels of 224: at 64 pixels they are shorter."""
    drawn = _drawn(_settings(preset="domain"), 4000)
    unit = SIDE / 224
    for name, (low, high), none in (
        ("gamma", DOMAIN.gamma, 1.0),
        ("contrast", DOMAIN.contrast, 1.0),
        ("skull_px", (DOMAIN.skull_px[0] * unit, DOMAIN.skull_px[1] * unit), 0.0),
        ("blur_px", (DOMAIN.blur_px[0] * unit, DOMAIN.blur_px[1] * unit), 0.0),
        ("sharpen", DOMAIN.sharpen, 0.0),
        ("downscale", DOMAIN.downscale, 1.0),
        ("noise", DOMAIN.noise, 0.0),
        ("jpeg_quality", DOMAIN.jpeg_quality, 0),
    ):
        values = np.array([getattr(each, name) for each in drawn])
        changed = values[values != none]
        margin = 0.02 * (high - low)
        assert low <= changed.min() < low + margin
        assert high - margin < changed.max() <= high
        assert abs(len(changed) / len(drawn) - CHANCES[name]) < 0.03
    scale = np.array([each.scale for each in drawn])
    assert (scale[:, 0] == scale[:, 1]).all()  # the preset keeps the shape of the head
    assert 0.6 <= scale.min() < 0.61
    assert 1.24 < scale.max() <= 1.25
    assert abs((scale[:, 0] != 1).mean() - CHANCES["scale"]) < 0.03
    assert {value for each in drawn for value in each.shift_px} == set(range(-6, 7))  # 64 * 0.1 = 6.4
    coefficients = np.array([each.bias for each in drawn if each.bias])
    assert abs(len(coefficients) / len(drawn) - CHANCES["bias"]) < 0.03
    assert 0.39 < np.abs(coefficients).max() <= DOMAIN.bias


def test_the_preset_is_added_to_the_other_settings_and_reproducible() -> None:
    settings = _settings(preset="domain", rotate=20.0, flip=True)
    plain, drawn = _drawn(replace(settings, preset="none"), 50), _drawn(settings, 50)
    assert [each.rotate_deg for each in plain] == [each.rotate_deg for each in drawn]
    first, again = (_each(Augmenter(settings, seed=3), 30, image=_scan(), mask=_disc()) for _ in range(2))
    for (image, mask), (other_image, other_mask) in zip(first, again, strict=True):
        assert (image == other_image).all()
        assert (mask == other_mask).all()


APPEARANCE = {
    "skull_px": 5.0,
    "bias": (0.3, -0.2, 0.1, 0.2, -0.3),
    "gamma": 1.5,
    "blur_px": 1.0,
    "sharpen": 1.0,
    "downscale": 0.5,
    "noise": 0.03,
    "jpeg_quality": 40,
}


@pytest.mark.parametrize("name", APPEARANCE)
def test_each_change_of_appearance_changes_the_picture_and_not_the_mask(name: str) -> None:
    mask = (_scan() > 100).astype(np.uint8) * 0
    image, found = apply_augment(_scan(), mask, AugmentParams(**{name: APPEARANCE[name]}))
    assert image.shape == (SIDE, SIDE)
    assert image.dtype == np.uint8
    assert (image != _scan()).any()
    assert not found.any()


def test_gamma_is_an_exponent_on_grey_values_in_0_to_1() -> None:
    ramp = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (SIDE, 1))
    image, _ = apply_augment(ramp, ramp * 0, AugmentParams(gamma=2.0))
    assert np.abs(image - 255 * (ramp / 255.0) ** 2).max() <= 1


def test_a_bias_field_is_smooth_and_1_on_average_of_its_logarithm() -> None:
    field = bias_field((0.4, -0.4, 0.2, 0.3, -0.1), size=SIDE)
    assert abs(np.log(field).mean()) < 0.02
    assert np.abs(np.diff(field, axis=0)).max() < 0.1
    assert bias_field((0.4, 0.0, 0.0, 0.0, 0.0), size=SIDE)[10] == pytest.approx(np.exp(0.4 * np.linspace(-1, 1, SIDE)))


def test_blur_and_downscaling_soften_and_sharpening_steepens_an_edge() -> None:
    edge = np.full((SIDE, SIDE), 60, dtype=np.uint8)
    edge[:, 32:] = 160

    def steepest(**values: float) -> int:
        image, _ = apply_augment(edge, edge * 0, AugmentParams(**values))  # type: ignore[arg-type]
        return int(np.abs(np.diff(image[32].astype(int))).max())

    assert steepest() == 100
    assert steepest(blur_px=1.5) < 60
    assert steepest(downscale=0.4) < 70
    assert steepest(sharpen=1.0) > 120


def test_noise_has_its_deviation_and_its_seed() -> None:
    even = np.full((SIDE, SIDE), 128, dtype=np.uint8)
    one, again, other = (
        apply_augment(even, even * 0, AugmentParams(noise=0.04, noise_seed=seed))[0].astype(float) for seed in (1, 1, 2)
    )
    assert one.std() == pytest.approx(0.04 * 255, rel=0.1)
    assert (one == again).all()
    assert (one != other).any()


def test_skull_removal_takes_the_outer_layer_and_spares_a_slice_whose_tumour_lies_there() -> None:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    radius = np.hypot(rows - 31.5, columns - 31.5)
    image = np.where(radius < 26, 100, 0).astype(np.uint8)
    image[(radius >= 23) & (radius < 26)] = 250
    inner, outer = ((np.hypot(rows - 31.5, columns - at) < 5).astype(np.uint8) for at in (31.5, 54))
    stripped, mask = apply_augment(image, inner, AugmentParams(skull_px=6.0))
    assert stripped.max() == 100
    assert (stripped[radius < 18] == 100).all()
    assert (stripped[radius > 24] == 0).all()
    assert (mask == inner).all()
    assert (apply_augment(image, outer, AugmentParams(skull_px=6.0))[0] == image).all()


def test_compression_changes_pixels_by_little() -> None:
    image, _ = apply_augment(_scan(), _scan() * 0, AugmentParams(jpeg_quality=60))
    assert 0 < np.abs(image.astype(int) - _scan()).mean() < 6
