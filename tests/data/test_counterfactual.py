"""Tests of removed, pasted and replaced tissue on heads drawn here."""

from __future__ import annotations

from collections import Counter

import cv2
import numpy as np
import pytest

from bts.data import counterfactual
from bts.data.arrays import Arrays
from bts.data.counterfactual import (
    CounterfactualAugmenter,
    balanced_shares,
    find_head,
    make_counterfactuals,
    paste_tumour,
    remove_tumour,
    replace_tissue,
    support_px,
)
from bts.errors import RequestError
from bts.settings import AugmentSettings

SIDE = 128
CLASSES = ("meningioma", "glioma", "no_tumour")
HEALTHY = 2
Slice = tuple[np.ndarray, np.ndarray]


def ellipse(row: float, column: float, height: float, width: float) -> np.ndarray:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return ((rows - row) / height) ** 2 + ((columns - column) / width) ** 2 <= 1


def healthy_slice(seed: int = 0, *, frame: int = 0, level: float = 100.0) -> np.ndarray:
    """A textured head, symmetric about column 63.5, on a background of one grey value."""
    texture = cv2.GaussianBlur(np.random.default_rng(seed).standard_normal((SIDE, SIDE)).astype(np.float32), (0, 0), 3)
    head = ellipse(63.5, 63.5, 50, 40)
    return np.where(head, level + 60 * texture, frame).clip(0, 255).astype(np.uint8)


def tumour_slice(seed: int = 0, *, radius: float = 9.0, **more: float) -> Slice:
    """The same head with a bright disc on one side."""
    mask = ellipse(55, 84, radius, radius)
    image = healthy_slice(seed, **more)  # type: ignore[arg-type]
    return np.where(mask, 220, image).astype(np.uint8), mask.astype(np.uint8)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def distance_from(mask: np.ndarray) -> np.ndarray:
    """An independent distance: to the nearest pixel of the mask, by comparing with all of them."""
    points = np.argwhere(mask)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    squared = (rows[..., None] - points[:, 0]) ** 2 + (columns[..., None] - points[:, 1]) ** 2
    return np.sqrt(squared.min(axis=-1))


# ---- removing


@pytest.mark.parametrize("seed", range(5))
def test_a_removed_tumour_is_gone_and_nothing_else_changes(seed: int) -> None:
    image, mask = tumour_slice(seed)
    found = remove_tumour(image, mask, rng=rng(seed))
    assert found is not None
    assert found[mask == 1].max() < 200
    assert abs(float(found[mask == 1].mean()) - 100) < 25
    far = distance_from(mask) > support_px(image.shape) + 1
    assert (found[far] == image[far]).all()


def test_the_surroundings_of_a_tumour_are_replaced_too() -> None:
    """A dark rim of 4 px at 256 px around the tumour, as swelling: 2 px here."""
    image, mask = tumour_slice()
    rim = (distance_from(mask) <= 2) & (mask == 0)
    found = remove_tumour(np.where(rim, 30, image).astype(np.uint8), mask, rng=rng())
    assert found is not None
    assert abs(float(found[rim].mean()) - 100) < 25


def test_the_input_is_left_as_it_is() -> None:
    image, mask = tumour_slice()
    donor, donor_mask = tumour_slice(1)
    for array in (image, mask, donor, donor_mask):
        array.flags.writeable = False
    assert remove_tumour(image, mask, rng=rng()) is not None
    assert paste_tumour(healthy_slice(2), donor, donor_mask, rng=rng()) is not None
    replace_tissue(image, mask, donor, donor_mask, rng=rng())


def test_a_tumour_that_fills_the_head_is_not_removed() -> None:
    image, _ = tumour_slice()
    mask = ellipse(63.5, 63.5, 46, 36).astype(np.uint8)
    assert remove_tumour(image, mask, rng=rng()) is None


@pytest.mark.parametrize("value", [0, 1])
def test_a_mask_of_nothing_or_of_everything_is_not_removed(value: int) -> None:
    assert remove_tumour(healthy_slice(), np.full((SIDE, SIDE), value, np.uint8), rng=rng()) is None


def test_the_size_of_the_slice_scales_the_replaced_region() -> None:
    image, mask = (cv2.resize(each, (256, 256), interpolation=cv2.INTER_NEAREST) for each in tumour_slice())
    assert support_px(image.shape) == pytest.approx(2 * support_px((SIDE, SIDE)))
    found = remove_tumour(image, mask, rng=rng())
    assert found is not None
    assert found[mask == 1].max() < 200


# ---- pasting


@pytest.mark.parametrize("seed", range(5))
def test_a_pasted_tumour_lies_where_the_donor_has_it_relative_to_the_head(seed: int) -> None:
    """Donor: centre 8.5 rows above and 20.5 columns right of the head's, a fifth of it; up to 5 px at 256 px of jitter."""
    donor, donor_mask = tumour_slice(1)
    image = healthy_slice(2)
    found = paste_tumour(image, donor, donor_mask, rng=rng(seed))
    assert found is not None
    pasted, mask = found
    rows, columns = np.nonzero(mask)
    assert abs(rows.mean() - 55) < 5
    assert abs(columns.mean() - 84) < 7
    assert 0.85**2 * 0.85 < mask.sum() / donor_mask.sum() < 1.15**2 * 1.15
    assert pasted[mask == 1].mean() > image[mask == 1].mean() + 50
    far = distance_from(mask) > support_px(image.shape) + 1
    assert (pasted[far] == image[far]).all()


def test_a_pasted_tumour_scales_with_the_head() -> None:
    donor, donor_mask = tumour_slice(1)
    small = np.where(ellipse(63.5, 63.5, 25, 20), healthy_slice(2), 0).astype(np.uint8)
    found = paste_tumour(small, donor, donor_mask, rng=rng())
    assert found is not None
    assert found[1].sum() < 0.45 * donor_mask.sum()


def test_a_pasted_tumour_takes_the_brightness_of_its_new_surroundings() -> None:
    donor, donor_mask = tumour_slice(1, level=100)
    image = healthy_slice(2, level=50)
    found = paste_tumour(image, donor, donor_mask, rng=rng())
    assert found is not None
    pasted, mask = found
    core = cv2.erode(mask, np.ones((5, 5), np.uint8)) == 1
    assert 0.8 < pasted[core].mean() / (220 * 50 / 100) < 1.25


@pytest.mark.parametrize("shape", [(10, 8), (4, 50)])
def test_a_head_too_small_to_paste_into_is_refused(shape: tuple[int, int]) -> None:
    donor, donor_mask = tumour_slice(1)
    image = np.where(ellipse(63.5, 63.5, *shape), 100, 0).astype(np.uint8)
    assert paste_tumour(image, donor, donor_mask, rng=rng()) is None


def test_a_tumour_of_a_few_pixels_is_not_pasted() -> None:
    donor, _ = tumour_slice(1)
    assert paste_tumour(healthy_slice(2), donor, ellipse(55, 84, 1, 1).astype(np.uint8), rng=rng()) is None


# ---- controls


@pytest.mark.parametrize("seed", range(8))
def test_a_control_changes_tissue_and_leaves_the_tumour(seed: int) -> None:
    image, mask = tumour_slice(0)
    donor, donor_mask = tumour_slice(1)
    found = replace_tissue(image, mask, donor, donor_mask, rng=rng(seed))
    assert found is not None
    assert (found != image).any()
    assert (found[mask == 1] == image[mask == 1]).all()
    assert found[mask == 0].max() < 200  # no second tumour


@pytest.mark.parametrize("seed", range(8))
def test_a_control_of_a_healthy_slice_stays_healthy(seed: int) -> None:
    image = healthy_slice(2)
    found = replace_tissue(image, np.zeros_like(image), *tumour_slice(1), rng=rng(seed))
    assert found is not None
    assert (found != image).any()
    assert found.max() < 200


# ---- all three


@pytest.mark.parametrize("frame", [0, 40])
def test_the_frame_is_untouched_so_a_model_of_the_frame_sees_no_difference(frame: int) -> None:
    """A logistic model of the outer 12 of 160 px answers the same: the pixels are the same."""
    donor, donor_mask = tumour_slice(1)
    image, mask = tumour_slice(0, frame=frame)
    healthy = healthy_slice(2, frame=frame)
    rim = np.ones((SIDE, SIDE), dtype=bool)
    rim[10:-10, 10:-10] = False
    pasted = paste_tumour(healthy, donor, donor_mask, rng=rng())
    assert pasted is not None
    for before, after in (
        (image, remove_tumour(image, mask, rng=rng())),
        (healthy, pasted[0]),
        (image, replace_tissue(image, mask, donor, donor_mask, rng=rng())),
        (healthy, replace_tissue(healthy, np.zeros_like(healthy), donor, donor_mask, rng=rng())),
    ):
        assert after is not None
        assert (after[rim] == before[rim]).all()


def test_the_same_seed_gives_the_same_slice_and_another_seed_another() -> None:
    donor, donor_mask = tumour_slice(1)
    image, mask = tumour_slice(0)

    def each(seed: int) -> list[np.ndarray]:
        pasted = paste_tumour(healthy_slice(2), donor, donor_mask, rng=rng(seed))
        assert pasted is not None
        found = remove_tumour(image, mask, rng=rng(seed)), replace_tissue(image, mask, donor, donor_mask, rng=rng(seed))
        return [*pasted, *(one for one in found if one is not None)]

    assert all((one == again).all() for one, again in zip(each(3), each(3), strict=True))
    assert any((one != other).any() for one, other in zip(each(3), each(4), strict=True))


def test_the_head_is_filled_and_its_brightness_is_that_of_tissue() -> None:
    image, mask = tumour_slice()
    image = np.where(ellipse(63.5, 50, 8, 4), 0, image).astype(np.uint8)  # a dark ventricle
    head = find_head(image, without=mask)
    assert head.region[63, 50]
    assert abs(head.region.sum() / (np.pi * 50 * 40) - 1) < 0.1
    assert abs(head.level - 100) < 10
    assert np.abs(np.array(head.box) - (14, 24, 114, 104)).max() <= 2


# ---- as augmentation


def made_arrays(tumours: int = 40, healthy: int = 30) -> Arrays:
    slices = [tumour_slice(i) for i in range(tumours)]
    pictures = [image for image, _ in slices] + [healthy_slice(100 + i, frame=40) for i in range(healthy)]
    count = tumours + healthy
    return Arrays(
        images=np.stack(pictures),
        masks=np.stack([mask for _, mask in slices] + [np.zeros((SIDE, SIDE), np.uint8)] * healthy),
        has_mask=np.ones(count, dtype=bool),
        labels=np.array([i % 2 for i in range(tumours)] + [HEALTHY] * healthy),
        paths=[f"{i}.png" for i in range(count)],
        patients=[str(i) for i in range(count)],
    )


def made_augmenter(arrays: Arrays, *, remove: float = 0.33, paste: float = 0.4, seed: int = 0) -> CounterfactualAugmenter:
    return CounterfactualAugmenter(arrays, healthy=HEALTHY, remove_tumour=remove, paste_tumour=paste, seed=seed)


def test_class_and_mask_agree_with_what_the_slice_shows() -> None:
    arrays = made_arrays()
    augmenter = made_augmenter(arrays)
    for epoch in range(3):
        for index in range(len(arrays)):
            image, mask, label = augmenter(epoch=epoch, index=index)
            assert image.dtype == mask.dtype == np.uint8
            assert set(np.unique(mask)) <= {0, 1}
            assert bool(mask.any()) == (label != HEALTHY)
            is_bright = bool((cv2.blur(image, (5, 5)) > 165).any())
            assert is_bright == (label != HEALTHY)


def test_shares_are_honoured_and_both_publishers_show_both_states() -> None:
    arrays = made_arrays(60, 60)
    augmenter = made_augmenter(arrays)
    shares, states = augmenter.shares, Counter()
    epochs = 12
    for epoch in range(epochs):
        for index in range(120):
            image, _, label = augmenter(epoch=epoch, index=index)
            changed = bool((image != arrays.images[index]).any())
            states[index < 60, label != HEALTHY, changed] += 1
    n = 60 * epochs
    for key, share in (
        ((True, False, True), shares.remove_tumour),
        ((True, True, True), shares.control_tumour),
        ((False, True, True), shares.paste_tumour),
        ((False, False, True), shares.control_healthy),
    ):
        assert states[key] / n == pytest.approx(share, abs=0.06)


def test_class_counts_are_those_of_an_epoch_on_average() -> None:
    """60 of either tumour class lose 21, 40 healthy slices get 0.4 * 40 = 16 tumours, half of either class."""
    arrays = made_arrays(120, 40)
    assert made_augmenter(arrays, remove=0.35, paste=0.4).class_counts(3) == [60 - 21 + 8, 60 - 21 + 8, 40 + 42 - 16]


def test_seams_are_as_frequent_with_a_tumour_as_without() -> None:
    arrays = made_arrays(80, 40)
    augmenter = made_augmenter(arrays)
    seams: dict[bool, list[bool]] = {True: [], False: []}
    for epoch in range(10):
        for index in range(len(arrays)):
            image, _, label = augmenter(epoch=epoch, index=index)
            seams[label != HEALTHY].append(bool((image != arrays.images[index]).any()))
    assert np.mean(seams[True]) == pytest.approx(np.mean(seams[False]), abs=0.06)


@pytest.mark.parametrize(("tumours", "healthy"), [(2145, 1513), (100, 100), (300, 100)])
def test_controls_balance_the_seams(tumours: int, healthy: int) -> None:
    shares = balanced_shares(0.33, 0.4, tumours=tumours, healthy=healthy)
    removed, pasted = 0.33 * tumours, 0.4 * healthy
    with_tumour = (pasted + shares.control_tumour * tumours) / (tumours - removed + pasted)
    without = (removed + shares.control_healthy * healthy) / (healthy - pasted + removed)
    assert with_tumour == pytest.approx(without)
    assert with_tumour >= counterfactual.SEAMS - 1e-9


def test_a_slice_depends_on_seed_epoch_and_index_alone() -> None:
    arrays, indices = made_arrays(6, 4), range(10)
    forth = [made_augmenter(arrays)(epoch=1, index=index)[0] for index in indices]
    augmenter, another = made_augmenter(arrays), made_augmenter(arrays, seed=1)
    back = [augmenter(epoch=1, index=index)[0] for index in reversed(indices)][::-1]
    assert all((one == other).all() for one, other in zip(forth, back, strict=True))
    other = [another(epoch=1, index=index)[0] for index in indices]
    later = [augmenter(epoch=2, index=index)[0] for index in indices]
    for changed in (other, later):
        assert any((one != two).any() for one, two in zip(forth, changed, strict=True))


def test_shares_of_0_change_nothing_and_make_no_augmenter() -> None:
    arrays = made_arrays(6, 4)
    assert make_counterfactuals(AugmentSettings(), arrays, CLASSES, seed=0) is None
    augmenter = made_augmenter(arrays, remove=0.0, paste=0.0)
    assert all((augmenter(epoch=0, index=index)[0] == arrays.images[index]).all() for index in range(10))


# ---- refused


def test_data_without_a_healthy_class_are_refused() -> None:
    settings = AugmentSettings(remove_tumour=0.3)
    with pytest.raises(RequestError, match="expected a class 'no_tumour', received meningioma, glioma: add healthy"):
        make_counterfactuals(settings, made_arrays(4, 0), CLASSES[:2], seed=0)


@pytest.mark.parametrize("lacking", ["masks", "healthy"])
def test_data_without_masks_or_healthy_slices_are_refused(lacking: str) -> None:
    arrays = made_arrays(4, 0 if lacking == "healthy" else 3)
    if lacking == "masks":
        arrays.has_mask[:] = False
    received = "received 0 and 3" if lacking == "masks" else "received 4 and 0"
    with pytest.raises(RequestError, match=f"augment.remove_tumour, augment.paste_tumour: expected .*{received}"):
        make_counterfactuals(AugmentSettings(paste_tumour=0.5), arrays, CLASSES, seed=0)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(RequestError, match="seed -1: expected 0 or more"):
        made_augmenter(made_arrays(4, 3), seed=-1)
