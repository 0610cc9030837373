"""Do slices that lie on the device come as a loader would give them, and are they varied as albumentations varies them?"""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from bts.data.arrays import Arrays
from bts.data.augment import Augmenter
from bts.data.dataset import EpochSampler, SliceDataset
from bts.data.phantom_scan import draw_slices
from bts.data.preprocess import Preprocessing
from bts.data.resident import BatchAugmenter, ResidentLoader, as_tensor, vary
from bts.data.variation import Variations, draw_variations, no_variations
from bts.errors import RequestError
from bts.settings import AugmentSettings

SIDE = 64
NONE = AugmentSettings(share=1.0, rotate=0.0, flip=False, crop=0.0)
EVERYTHING = AugmentSettings(
    *(1.0, 30.0, True, 0.2), flip_vertical=True, scale=0.2, zoom_out=0.3, shift=0.15, shear=15.0, brightness=0.3
)
ALONE = [
    replace(NONE, **change)
    for change in (
        {"flip": True, "flip_vertical": True},
        {"crop": 0.3},
        {"rotate": 180.0},
        {"scale": 0.3},
        {"zoom_out": 0.3},
        {"shift": 0.2},
        {"shear": 20.0},
        {"brightness": 0.3},
    )
]
Slice = tuple[np.ndarray, np.ndarray]


def _waves() -> Slice:
    """A smooth picture: a period is 32 pixels, so that a pixel's step is 20 grey values at most; and a disc off the centre."""
    y, x = np.mgrid[:SIDE, :SIDE]
    image = 127 + 100 * np.sin(2 * np.pi * x / 32) * np.sin(2 * np.pi * y / 32)
    return image.astype(np.uint8), ((y - 25) ** 2 + (x - 38) ** 2 < 12**2).astype(np.uint8)


def _phantom() -> Slice:
    image, mask = next(draw_slices(label="meningioma", n_slices=1, side=224, seed=(3,)))
    preprocessing = Preprocessing(size=224)
    return preprocessing.image(image.astype(float)), preprocessing.mask(mask).astype(np.uint8)


def _by_torch(one: Slice, how: Variations, settings: AugmentSettings) -> Slice:
    """Return pictures and masks (N, S, S) of one slice, varied on the CPU by each row of the numbers."""
    images, masks = (torch.from_numpy(array).expand(len(how.flip), -1, -1) for array in one)
    out = vary(images, masks, as_tensor(how, size=len(one[0])), fill=settings.fill)
    return out[0].numpy(), out[1].numpy()


def _by_albumentations(one: Slice, how: Variations, settings: AugmentSettings) -> Slice:
    augmenter = Augmenter(settings, seed=0)
    pairs = [augmenter.applied(*one, how, row) for row in range(len(how.flip))]
    return np.stack([image for image, _ in pairs]).astype(np.float32), np.stack([mask for _, mask in pairs])


def _least_iou(masks: np.ndarray, others: np.ndarray) -> float:
    return float(((masks * others).sum((1, 2)) / np.maximum(masks, others).sum((1, 2))).min())


# ---- the two augmenters on the same numbers


@pytest.mark.parametrize("fill", ["black", "nearest"])
@pytest.mark.parametrize("settings", ALONE)
def test_each_variation_alone_is_that_of_albumentations(settings: AugmentSettings, fill: str) -> None:
    """One look-up each: a grey value for rounding, one for OpenCV's tables, whose 1/32 pixel are 0.6 of these waves' steps."""
    settings = replace(settings, fill=fill)  # type: ignore[arg-type]
    how = draw_variations(settings, 40, size=SIDE, seed=1, epoch=0)
    (image, mask), (expected, expected_mask) = (by(_waves(), how, settings) for by in (_by_torch, _by_albumentations))
    assert np.abs(image - expected).max() <= 2
    assert _least_iou(mask, expected_mask) > 0.99
    assert (expected != _waves()[0]).any()


@pytest.mark.parametrize("fill", ["black", "nearest"])
def test_all_variations_together_differ_by_the_second_look_up_alone(fill: str) -> None:
    """Albumentations interpolates twice, after the crop and after the affine map, we once.

    Linear interpolation errs by an eighth of the second derivative along each axis, 1 grey value of these waves: 3 in all, 2
    more for rounding, and 1.3 times that by the contrast. The disc's border moves by less than an eighth of a pixel:
    zoomed out to 0.7 it has 53 pixels of border around 222.
    """
    settings = replace(EVERYTHING, fill=fill)  # type: ignore[arg-type]
    how = draw_variations(settings, 60, size=SIDE, seed=2, epoch=0)
    (image, mask), (expected, expected_mask) = (by(_waves(), how, settings) for by in (_by_torch, _by_albumentations))
    assert np.abs(image - expected).max() <= 6.5
    assert _least_iou(mask, expected_mask) > 1 - 53 / 8 / 222


def test_both_vary_a_phantom_alike() -> None:
    """Its edges and its noise are softened once in place of twice; a mistake of half a pixel would be several times that."""
    how = draw_variations(EVERYTHING, 8, size=224, seed=1, epoch=0)
    off = replace(how, shift_px=how.shift_px + 0.5)
    expected, expected_mask = _by_albumentations(_phantom(), how, EVERYTHING)
    difference, mistaken = (np.abs(_by_torch(_phantom(), each, EVERYTHING)[0] - expected).mean() for each in (how, off))
    assert difference < 1
    assert mistaken > 2 * difference
    assert _least_iou(_by_torch(_phantom(), how, EVERYTHING)[1], expected_mask) > 0.98


def test_both_vary_as_much_over_many_draws() -> None:
    """The mask's area and place and the picture's mean, 300 draws each: means and deviations within four standard errors."""
    one, settings, n = _waves(), replace(EVERYTHING, share=0.7), 300
    how = draw_variations(settings, n, size=SIDE, seed=3, epoch=0)
    augmenter = Augmenter(settings, seed=3)
    pairs = [augmenter(*one, epoch=0, index=index) for index in range(n)]
    seen = [_by_torch(one, how, settings), (np.stack([image for image, _ in pairs]), np.stack([mask for _, mask in pairs]))]
    y, x = np.mgrid[:SIDE, :SIDE]
    for measure in (
        lambda image, mask: mask.sum((1, 2)),
        lambda image, mask: (mask * x).sum((1, 2)) / mask.sum((1, 2)),
        lambda image, mask: (mask * y).sum((1, 2)) / mask.sum((1, 2)),
        lambda image, mask: image.mean((1, 2)),
    ):
        ours, theirs = (measure(*pair).astype(float) for pair in seen)
        spread = np.hypot(ours.std(), theirs.std()) / np.sqrt(n)
        assert abs(ours.mean() - theirs.mean()) < 4 * spread
        assert abs(ours.std() - theirs.std()) < 4 * spread


# ---- hand-made truths


def _noise() -> Slice:
    random = np.random.default_rng(0)
    return random.integers(0, 256, (SIDE, SIDE)).astype(np.uint8), random.integers(0, 2, (SIDE, SIDE)).astype(np.uint8)


@pytest.mark.parametrize("fill", ["black", "nearest"])
def test_numbers_that_change_nothing_give_the_very_slice(fill: str) -> None:
    image, mask = _by_torch(_noise(), no_variations(3, size=SIDE), replace(NONE, fill=fill))  # type: ignore[arg-type]
    assert (image == _noise()[0]).all()
    assert (mask == _noise()[1]).all()


@pytest.mark.parametrize(("fill", "mode"), [("black", "constant"), ("nearest", "edge")])
def test_a_shift_by_whole_pixels_moves_every_pixel_exactly(fill: str, mode: str) -> None:
    how = replace(no_variations(1, size=SIDE), shift_px=np.array([[3.0, -2.0]]))  # to the right, and up
    for seen, array in zip(_by_torch(_noise(), how, replace(NONE, fill=fill)), _noise(), strict=True):  # type: ignore[arg-type]
        expected = np.pad(array, ((0, 2), (3, 0)), mode=mode)[2:, :SIDE]  # type: ignore[call-overload]
        assert (seen[0] == expected).all()


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_quarter_turn_is_exact(quarters: int) -> None:
    how = replace(no_variations(1, size=SIDE), rotate_deg=np.array([90.0 * quarters]))
    for seen, array in zip(_by_torch(_noise(), how, NONE), _noise(), strict=True):
        assert (seen[0] == np.rot90(array, quarters)).all()


def test_flips_mirror_exactly() -> None:
    how = replace(no_variations(2, size=SIDE), flip=np.array([True, False]), flip_vertical=np.array([False, True]))
    for seen, array in zip(_by_torch(_noise(), how, NONE), _noise(), strict=True):
        assert (seen[0] == array[:, ::-1]).all()
        assert (seen[1] == array[::-1]).all()


def test_what_a_crop_took_away_does_not_come_back() -> None:
    """A white frame around a grey square is cropped away; zoomed out, the square stands on black."""
    image = np.full((SIDE, SIDE), 255, dtype=np.uint8)
    image[16:48, 16:48] = 100
    how = replace(no_variations(1, size=SIDE), crop_px=np.array([[16.0, 16.0, 32.0]]), scale=np.full((1, 2), 0.5))
    expected = np.zeros((SIDE, SIDE))
    expected[16:48, 16:48] = 100
    assert (_by_torch((image, image // 255), how, NONE)[0][0] == expected).all()


def test_contrast_and_brightness_go_by_the_picture_itself() -> None:
    image = np.full((SIDE, SIDE), 100, dtype=np.uint8)
    image[:, :32] = 200  # mean 150
    how = replace(no_variations(2, size=SIDE), contrast=np.array([0.5, 1.0]), brightness=np.array([0.0, 0.2]))
    first, second = _by_torch((image, image // 200), how, NONE)[0]
    assert (first == image / 2).all()
    assert (second == image + 30.0).all()


# ---- the numbers


def test_a_slice_s_numbers_depend_on_seed_epoch_and_index_alone() -> None:
    def drawn(count: int = 9, *, seed: int = 0, epoch: int = 0) -> torch.Tensor:
        return BatchAugmenter(EVERYTHING, seed=seed).numbers(count, size=SIDE, epoch=epoch)

    assert torch.equal(drawn(), drawn(30)[:9])
    for other in (drawn(seed=1), drawn(epoch=1), drawn().roll(1, 0)):
        assert (drawn() != other).any(dim=1).all()


def test_the_numbers_stay_within_the_settings_and_reach_their_ends() -> None:
    how = draw_variations(EVERYTHING, 2000, size=SIDE, seed=0, epoch=0)
    side, corner = how.crop_px[:, 2], how.crop_px[:, :2]
    assert (side.min(), side.max()) == (51, 64)  # 64 * 0.8 = 51.2
    assert corner.min() == 0
    assert (corner.max(axis=1) + side).max() == 64
    for values, lowest, highest in (
        (how.rotate_deg, -30, 30),
        (how.scale, 0.7, 1.2),
        (how.shear_deg, -15, 15),
        (how.contrast, 0.7, 1.3),
        (how.brightness, -0.3, 0.3),
    ):
        margin = 0.01 * (highest - lowest)
        assert lowest <= values.min() < lowest + margin
        assert highest - margin < values.max() <= highest
    assert set(np.unique(how.shift_px)) == set(range(-9, 10))  # 64 * 0.15 = 9.6
    assert abs(how.flip.mean() - 0.5) < 0.05
    assert abs(how.flip_vertical.mean() - 0.5) < 0.05


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_share_of_varied_slices_is_honoured(share: float) -> None:
    n = 2000
    how, plain = draw_variations(replace(EVERYTHING, share=share), n, size=SIDE, seed=0, epoch=0), no_variations(n, size=SIDE)
    changed = [getattr(how, each.name) != getattr(plain, each.name) for each in fields(Variations)]
    varied = np.logical_or.reduce([np.reshape(each, (n, -1)).any(axis=1) for each in changed])
    assert abs(varied.sum() - n * share) <= 4 * np.sqrt(n * share * (1 - share))


def test_one_slice_is_seen_as_in_its_batch() -> None:
    augmenter = BatchAugmenter(EVERYTHING, seed=4)
    images, masks = (torch.from_numpy(array).expand(6, -1, -1) for array in _waves())
    batch = vary(images, masks, augmenter.numbers(6, size=SIDE, epoch=2), fill="black")
    image, mask = augmenter(*_waves(), epoch=2, index=5)
    assert image.dtype == mask.dtype == np.uint8
    assert (image == batch[0][5].numpy()).all()
    assert (mask == batch[1][5].numpy()).all()


def test_bad_settings_are_refused_as_by_the_other_augmenter() -> None:
    with pytest.raises(RequestError, match=r"augment\.rotate 200: expected 0 to 180"):
        BatchAugmenter(AugmentSettings(rotate=200.0), seed=0)


# ---- batches


def _arrays(count: int) -> Arrays:
    random = np.random.default_rng(0)
    return Arrays(
        images=random.integers(0, 256, (count, 32, 32)).astype(np.uint8),
        masks=random.integers(0, 2, (count, 32, 32)).astype(np.uint8),
        has_mask=np.arange(count) % 3 != 0,
        labels=np.arange(count) % 4 - 1,
        paths=[""] * count,
        patients=[""] * count,
    )


def _sampler(shuffle: bool, rank: int, world: int) -> EpochSampler:
    sampler = EpochSampler(11, seed=5, shuffle=shuffle, rank=rank, world=world)
    sampler.set_epoch(3)
    return sampler


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize(("rank", "world"), [(0, 1), (0, 2), (1, 2)])
def test_batches_are_those_of_a_loader_to_the_bit(shuffle: bool, drop_last: bool, rank: int, world: int) -> None:
    arrays, how = _arrays(11), {"batch_size": 4, "drop_last": drop_last}
    plain = DataLoader(SliceDataset(arrays), sampler=_sampler(shuffle, rank, world), **how)
    resident = ResidentLoader(arrays, None, sampler=_sampler(shuffle, rank, world), device=torch.device("cpu"), **how)
    assert len(resident) == len(plain) > 0
    for ours, theirs in zip(resident, plain, strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            assert ours[name].dtype == value.dtype
            assert torch.equal(ours[name], value)


def test_a_device_without_a_share_has_no_batch() -> None:
    sampler = EpochSampler(1, seed=0, shuffle=False, rank=1, world=2)
    loader = ResidentLoader(_arrays(1), None, sampler=sampler, batch_size=4, drop_last=False, device=torch.device("cpu"))
    assert len(loader) == len(list(loader)) == 0


def test_a_slice_is_varied_alike_on_one_device_and_on_two() -> None:
    def seen(world: int) -> dict[int, torch.Tensor]:
        found = {}
        for rank in range(world):
            loader = ResidentLoader(
                _arrays(11),
                BatchAugmenter(EVERYTHING, seed=0),
                sampler=_sampler(True, rank, world),
                batch_size=4,
                drop_last=False,
                device=torch.device("cpu"),
            )
            for batch in loader:
                found |= dict(zip(batch["index"].tolist(), batch["image"], strict=True))
        return found

    alone, together = seen(1), seen(2)
    assert sorted(alone) == sorted(together) == list(range(11))
    assert all(torch.equal(alone[index], together[index]) for index in alone)
    assert any((alone[index] != torch.from_numpy(_arrays(11).images[index]) / 255).any() for index in alone)
