"""Counterfactual slices: tumours removed, pasted into healthy slices, and controls without a change of class.

A model that recognises the publisher of a slice instead of its tumour fails on these slices. They serve as augmentation, so
that every publisher shows both states in training, and as an evaluation that needs no further data.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import cv2
import numpy as np

from bts.data.arrays import Arrays
from bts.data.enhance import Box, head_box
from bts.errors import RequestError
from bts.glossary import NO_TUMOUR
from bts.settings import AugmentSettings

log = logging.getLogger(__name__)

SIDE = 256
"""Longer side in pixels that the lengths below refer to; they scale with the slice."""
GROW_PX = 5.0
"""Width around a tumour that is replaced with it: swelling and edges would betray it."""
FEATHER_PX = 4.0
"""Width over which the replaced region is blended into the slice."""
RING_PX = 3.0
"""Width of the ring around the region in which candidate patches are compared with the slice."""
SHIFTS = 32
"""Number of shifted patches that are tried."""
LARGEST_SHIFT = 0.35
"""Longest shift along each axis, as a share of the longer side."""
WORST_MISMATCH = 0.45
"""Mean absolute difference in the ring, as a share of the tissue's brightness, above which a patch does not fit."""
SMALLEST_TUMOUR_PX = 24
"""Area of the smallest tumour that is pasted."""
SMALLEST_HEAD = 0.3
"""Sides of the head's box, as a share of the slice's longer side, below which a slice is too small to paste into."""
ZOOM, STRETCH, JITTER_PX, GAIN = (0.85, 1.15), (0.92, 1.08), 5.0, (0.85, 1.2)
"""Random size, aspect ratio, displacement and brightness of a pasted region."""
WHITE = 250.0
"""Grey value that 95% of a pasted tumour's pixels stay below: bright tissue around it must not saturate it."""
DONORS = 24
"""Donors that are drawn for each slice; the one whose head looks most like the slice's is taken, so planes seldom mix."""
SEAMS = 0.6
"""Least share of the slices of either state with a seam, tumour or not: controls fill up to it."""


class Head(NamedTuple):
    """Place of the head in a slice: its box, its region (H, W) bool without holes, and the typical brightness of tissue."""

    box: Box
    region: np.ndarray
    level: float


def find_head(image: np.ndarray, *, without: np.ndarray | None = None) -> Head:
    """Return the head of a slice (H, W) uint8; `without` is a tumour, which does not count towards the brightness."""
    box = head_box(image)
    unit = _unit(image)
    smooth = cv2.GaussianBlur(np.asarray(image, dtype=np.float32), (0, 0), 1.5 * unit)
    inner = box.cut(smooth)
    bright = np.zeros(image.shape, dtype=np.uint8)
    box.cut(bright)[...] = inner > 0.15 * max(float(np.percentile(inner, 95)), 1.0)
    contours, _ = cv2.findContours(bright, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    region = np.zeros(image.shape, dtype=np.uint8)
    if contours:
        cv2.drawContours(region, [max(contours, key=cv2.contourArea)], -1, 1, thickness=cv2.FILLED)
    height, width = box.shape
    middle = Box(box.top + height // 4, box.left + width // 4, box.bottom - height // 4, box.right - width // 4)
    is_tissue = middle.cut(smooth) > 20
    if without is not None:
        is_tissue &= ~middle.cut(np.asarray(without, dtype=bool))
    tissue = middle.cut(smooth)[is_tissue]
    return Head(box, region.astype(bool), float(np.median(tissue)) if tissue.size else 80.0)


def remove_tumour(
    image: np.ndarray, mask: np.ndarray, *, rng: np.random.Generator, head: Head | None = None
) -> np.ndarray | None:
    """Replace the tumour by healthy tissue of the same slice.

    Args:
        image: (H, W) uint8.
        mask: (H, W) of 0 and 1, the tumour.
        rng: draws the candidate patches and the width of the feather.
        head: head of the slice, if known.

    Returns:
        (H, W) uint8 that equals `image` farther than `support_px` from the mask; None where there is no tumour, or no tissue
        fits, as with a tumour that fills the head.
    """
    head = head or find_head(image, without=mask)
    return _fill(image, mask, np.zeros_like(mask), head, rng=rng)


def paste_tumour(
    image: np.ndarray,
    donor: np.ndarray,
    donor_mask: np.ndarray,
    *,
    rng: np.random.Generator,
    head: Head | None = None,
    donor_head: Head | None = None,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Paste a donor's tumour into a slice, at its own place and size relative to the head.

    Args:
        image: (H, W) uint8 without a tumour.
        donor: (h, w) uint8.
        donor_mask: (h, w) of 0 and 1, the donor's tumour.
        rng: draws size, place, brightness and the width of the feather within narrow limits.
        head: head of the slice, if known.
        donor_head: head of the donor's slice, if known.

    Returns:
        The slice (H, W) uint8 and the mask (H, W) uint8 of the pasted tumour, or None where the slice or the tumour is too
        small, or the place lies outside the head.
    """
    heads = head or find_head(image), donor_head or find_head(donor, without=donor_mask)
    return _transplant(image, donor, donor_mask, heads=heads, rng=rng)


def replace_tissue(
    image: np.ndarray,
    mask: np.ndarray,
    donor: np.ndarray,
    donor_mask: np.ndarray,
    *,
    rng: np.random.Generator,
    head: Head | None = None,
    donor_head: Head | None = None,
) -> np.ndarray | None:
    """Replace healthy tissue by healthy tissue: the control of both operations, with the same seams.

    The region has the shape and relative place of the donor's tumour, shifted away from a tumour of the slice itself. It is
    filled with tissue of the slice (the control of `remove_tumour`) or with tissue of the donor, whose tumour is removed first
    (the control of `paste_tumour`).

    Args:
        image: (H, W) uint8.
        mask: (H, W) of 0 and 1, the slice's own tumour, which stays as it is; all 0 in a healthy slice.
        donor: (h, w) uint8, a slice with a tumour.
        donor_mask: (h, w) of 0 and 1, its tumour.
        rng: see `remove_tumour` and `paste_tumour`.
        head: head of the slice, if known.
        donor_head: head of the donor's slice, if known.

    Returns:
        (H, W) uint8, or None where no place or no tissue fits.
    """
    head, donor_head = head or find_head(image, without=mask), donor_head or find_head(donor, without=donor_mask)
    if rng.random() < 0.5:
        cleaned = remove_tumour(donor, donor_mask, rng=rng, head=donor_head)
        if cleaned is not None:
            pasted = _transplant(image, cleaned, donor_mask, heads=(head, donor_head), rng=rng, avoid=mask)
            return None if pasted is None else pasted[0]
    matrix = _matrix(head, donor_head, unit=_unit(image), rng=rng)
    region = _away(_warped_mask(donor_mask, matrix, image.shape), mask, head, rng=rng)
    return None if region is None else _fill(image, region, mask, head, rng=rng)


def support_px(shape: tuple[int, ...]) -> float:
    """Return the distance from a mask beyond which `remove_tumour` and `paste_tumour` leave a slice of that shape unchanged."""
    return (GROW_PX + 1.5 * FEATHER_PX) * max(shape) / SIDE


def _unit(image: np.ndarray) -> float:
    return max(image.shape) / SIDE


def _distance(mask: np.ndarray) -> np.ndarray:
    """Return the distance (H, W) float32 of each pixel from the mask; 0 inside."""
    return cv2.distanceTransform((np.asarray(mask) == 0).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def _feather(distance: np.ndarray, *, grow: float, width: float) -> np.ndarray:
    """Return weights (H, W): 1 up to `grow` from the mask, then smoothly down to 0 over `width`."""
    share = np.clip((grow + width - distance) / width, 0, 1)
    return share * share * (3 - 2 * share)


def _blend(image: np.ndarray, other: np.ndarray, weight: np.ndarray) -> np.ndarray:
    mixed = image + weight * (other - image.astype(np.float32))
    return np.where(weight > 0, np.rint(mixed).clip(0, 255), image).astype(np.uint8)


def _fill(
    image: np.ndarray, region: np.ndarray, avoid: np.ndarray, head: Head, *, rng: np.random.Generator
) -> np.ndarray | None:
    """Replace a region by the patch of the same slice, mirrored or shifted, that continues its surroundings best."""
    unit = _unit(image)
    distance = _distance(region)
    grow, width = GROW_PX * unit, FEATHER_PX * unit * rng.uniform(0.5, 1.5)
    rows, columns = np.nonzero(distance <= grow + width)
    ring_rows, ring_columns = np.nonzero((distance > grow) & (distance <= grow + width + RING_PX * unit))
    if not np.any(region) or not len(ring_rows) or len(rows) > head.region.size // 2:
        return None
    wanted = head.region[rows, columns].mean()
    taken = distance <= grow
    taken |= np.asarray(avoid, dtype=bool)
    values = image.astype(np.float32)
    best: tuple[float, np.ndarray, np.ndarray, float] | None = None
    ends = [np.array([each.min(), each.max()]) for each in (ring_rows, ring_columns)]
    for source_rows, source_columns in _sources(image.shape, head.box, rng=rng):
        if source_rows[ends[0]].min() < 0 or source_columns[ends[1]].min() < 0:
            continue
        at = source_rows[rows], source_columns[columns]
        if taken[at].any():
            continue
        if abs(head.region[at].mean() - wanted) > 0.05:
            continue
        around = source_rows[ring_rows], source_columns[ring_columns]
        difference = values[ring_rows, ring_columns] - values[around]
        offset = float(np.clip(difference.mean(), -0.2 * head.level, 0.2 * head.level))
        mismatch = float(np.abs(difference - offset).mean())
        if best is None or mismatch < best[0]:
            best = mismatch, *at, offset
    if best is None or best[0] > WORST_MISMATCH * head.level:
        return None
    other = values.copy()
    other[rows, columns] = values[best[1], best[2]] + best[3]
    return _blend(image, other, _feather(distance, grow=grow, width=width))


def _sources(shape: tuple[int, ...], box: Box, *, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return, for the mirrored side and each shift, the source row of every row and the source column of every column.

    Rows and columns beyond the slice are -1.
    """
    height, width = shape
    rows, columns = np.arange(height), np.arange(width)
    furthest = round(LARGEST_SHIFT * max(shape))
    maps = [(rows, box.left + box.right - 1 - columns)]
    maps += [(rows + down, columns + right) for down, right in rng.integers(-furthest, furthest + 1, (SHIFTS, 2))]
    return [
        (np.where((r >= 0) & (r < height), r, -1), np.where((c >= 0) & (c < width), c, -1))  # (H,), (W,)
        for r, c in maps
    ]


def _matrix(head: Head, donor_head: Head, *, unit: float, rng: np.random.Generator) -> np.ndarray:
    """Return (2, 3): the map from the donor's slice to the slice that lays head on head, with small random changes."""
    zoom, stretch, jitter = rng.uniform(*ZOOM), rng.uniform(*STRETCH), rng.uniform(-JITTER_PX, JITTER_PX, 2) * unit
    (height, width), (donor_height, donor_width) = head.box.shape, donor_head.box.shape
    down, across = zoom * height / donor_height, zoom * stretch * width / donor_width
    middle = (head.box.top + head.box.bottom - 1) / 2, (head.box.left + head.box.right - 1) / 2
    donor_middle = (donor_head.box.top + donor_head.box.bottom - 1) / 2, (donor_head.box.left + donor_head.box.right - 1) / 2
    shift = middle[1] - across * donor_middle[1] + jitter[0], middle[0] - down * donor_middle[0] + jitter[1]
    return np.array([[across, 0, shift[0]], [0, down, shift[1]]], dtype=np.float32)


def _warped(array: np.ndarray, matrix: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return cv2.warpAffine(array, matrix, (shape[1], shape[0]), flags=cv2.INTER_LINEAR)


def _warped_mask(mask: np.ndarray, matrix: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return (_warped(mask.astype(np.uint8) * np.uint8(255), matrix, shape) >= 128).astype(np.uint8)


def _transplant(
    image: np.ndarray,
    donor: np.ndarray,
    region: np.ndarray,
    *,
    heads: tuple[Head, Head],
    rng: np.random.Generator,
    avoid: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Paste a region of a donor's slice into a slice; return the slice and the region's new place."""
    head, donor_head = heads
    unit = _unit(image)
    if min(head.box.shape) < SMALLEST_HEAD * max(image.shape) or min(donor_head.box.shape) < SMALLEST_HEAD * max(donor.shape):
        return None
    matrix = _matrix(head, donor_head, unit=unit, rng=rng)
    moved = _warped(donor, matrix, image.shape).astype(np.float32)
    mask = _warped_mask(region, matrix, image.shape)
    gain = head.level / max(donor_head.level, 1.0) * rng.uniform(*GAIN)
    grow, width = rng.uniform(0, GROW_PX) * unit, FEATHER_PX * unit * rng.uniform(0.4, 1.5)
    if avoid is not None and avoid.any():
        placed = _away(mask, avoid, head, rng=rng)
        if placed is None:
            return None
        (down, right), mask = _shift_between(mask, placed), placed
        moved = np.roll(moved, (down, right), (0, 1))
    if mask.sum() < SMALLEST_TUMOUR_PX * unit**2 or head.region[mask > 0].mean() < 0.9:
        return None
    gain = min(gain, WHITE / max(float(np.percentile(moved[mask > 0], 95)), 1.0))
    return _blend(image, moved * gain, _feather(_distance(mask), grow=grow, width=width)), mask


def _away(region: np.ndarray, avoid: np.ndarray, head: Head, *, rng: np.random.Generator) -> np.ndarray | None:
    """Return the region (H, W), shifted as little as the draws allow so that it lies in the head and away from a mask."""
    unit = _unit(region)
    rows, columns = np.nonzero(region)
    if len(rows) < SMALLEST_TUMOUR_PX * unit**2:
        return None
    near = _distance(avoid) <= support_px(region.shape) + 1 if np.any(avoid) else np.zeros(region.shape, dtype=bool)
    furthest = round(LARGEST_SHIFT * max(region.shape))
    shifts = rng.integers(-furthest, furthest + 1, (SHIFTS, 2))
    for down, right in ((0, 0), *shifts[np.abs(shifts).max(axis=1).argsort(kind="stable")]):
        r, c = rows + down, columns + right
        if min(r.min(), c.min()) < 0 or r.max() >= region.shape[0] or c.max() >= region.shape[1]:
            continue
        if not near[r, c].any() and head.region[r, c].mean() >= 0.9:
            placed = np.zeros_like(region)
            placed[r, c] = 1
            return placed
    return None


def _shift_between(before: np.ndarray, after: np.ndarray) -> tuple[int, int]:
    """Return by how many rows and columns a region was shifted."""
    first, then = (tuple(int(each.min()) for each in np.nonzero(mask)) for mask in (before, after))
    return then[0] - first[0], then[1] - first[1]


@dataclass(frozen=True)
class Shares:
    """Shares of the slices with a tumour, and of the healthy ones, that become counterfactuals or controls."""

    remove_tumour: float
    control_tumour: float
    paste_tumour: float
    control_healthy: float


def balanced_shares(remove_tumour: float, paste_tumour: float, *, tumours: int, healthy: int) -> Shares:
    """Return the shares with as many controls as make seams equally frequent in slices with and without a tumour.

    >>> balanced_shares(0.0, 0.0, tumours=100, healthy=50)
    Shares(remove_tumour=0.0, control_tumour=0.0, paste_tumour=0.0, control_healthy=0.0)
    """
    if not remove_tumour and not paste_tumour:
        return Shares(0.0, 0.0, 0.0, 0.0)
    removed, pasted = remove_tumour * tumours, paste_tumour * healthy
    without, with_tumour = removed + healthy - pasted, tumours - removed + pasted  # slices of either state afterwards
    seams = max(SEAMS, removed / max(without, 1e-9), pasted / max(with_tumour, 1e-9))
    return Shares(
        remove_tumour=remove_tumour,
        control_tumour=float(np.clip((seams * with_tumour - pasted) / tumours, 0, 1 - remove_tumour)),
        paste_tumour=paste_tumour,
        control_healthy=float(np.clip((seams * without - removed) / healthy, 0, 1 - paste_tumour)),
    )


class CounterfactualAugmenter:
    """Random counterfactuals of the training slices, a pure function of (seed, epoch, index).

    Donors come from the same slices, so no patient crosses from one part of the split into another.

    Args:
        arrays: the training part.
        healthy: number of the class without a tumour.
        remove_tumour: share of the slices with a tumour that lose it; class and mask follow.
        paste_tumour: share of the healthy slices that get a donor's tumour; class and mask follow.
        seed: seed of the draws.

    Raises:
        RequestError: the slices have no masks of tumours, or none of them is healthy.
    """

    def __init__(self, arrays: Arrays, *, healthy: int, remove_tumour: float, paste_tumour: float, seed: int) -> None:
        if seed < 0:
            raise RequestError(f"seed {seed}: expected 0 or more")
        self.arrays, self.healthy, self.seed = arrays, healthy, seed
        has_tumour = arrays.has_mask & (arrays.labels != healthy) & (arrays.labels >= 0)
        self.donors = np.flatnonzero(has_tumour & arrays.masks.reshape(len(arrays), -1).any(axis=1))
        is_healthy = arrays.labels == healthy
        if not len(self.donors) or not is_healthy.any():
            raise RequestError(
                "augment.remove_tumour, augment.paste_tumour: expected training slices with masks of tumours and healthy ones, "
                f"received {len(self.donors)} and {int(is_healthy.sum())}: add the others to the data, or set both to 0"
            )
        self.shares = balanced_shares(remove_tumour, paste_tumour, tumours=len(self.donors), healthy=int(is_healthy.sum()))
        self._is_donor = np.isin(np.arange(len(arrays)), self.donors)
        self._heads: dict[int, Head] = {}
        self._looks = np.stack([head_appearance(image) for image in arrays.images])  # (N, 256)

    def __call__(self, *, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray, int]:
        """Return image (S, S) uint8, mask (S, S) uint8 and label of slice `index` in `epoch`.

        A slice for which an operation is not possible is returned as it is.
        """
        image, mask, label = self.arrays.images[index], self.arrays.masks[index], int(self.arrays.labels[index])
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, epoch, index], spawn_key=(1,)))
        lot = rng.random()
        if self._is_donor[index]:
            if lot < self.shares.remove_tumour:
                removed = remove_tumour(image, mask, rng=rng, head=self._head(index))
                return (image, mask, label) if removed is None else (removed, np.zeros_like(mask), self.healthy)
            is_control = lot < self.shares.remove_tumour + self.shares.control_tumour
        elif label == self.healthy:
            if lot < self.shares.paste_tumour:
                donor = self._donor(index, rng)
                pasted = paste_tumour(
                    image, *self._masked(donor), rng=rng, head=self._head(index), donor_head=self._head(donor)
                )
                return (image, mask, label) if pasted is None else (*pasted, int(self.arrays.labels[donor]))
            is_control = lot < self.shares.paste_tumour + self.shares.control_healthy
        else:
            is_control = False
        if is_control:
            donor = self._donor(index, rng)
            replaced = replace_tissue(
                image, mask, *self._masked(donor), rng=rng, head=self._head(index), donor_head=self._head(donor)
            )
            image = image if replaced is None else replaced
        return image, mask, label

    def class_counts(self, num_classes: int) -> list[int]:
        """Return how many slices of each class an epoch shows on average."""
        counts = np.bincount(self.arrays.labels[self.arrays.labels >= 0], minlength=num_classes).astype(float)
        donors = np.bincount(self.arrays.labels[self.donors], minlength=num_classes)
        pasted = self.shares.paste_tumour * counts[self.healthy]
        counts += pasted * donors / donors.sum() - self.shares.remove_tumour * donors
        counts[self.healthy] += self.shares.remove_tumour * donors.sum() - pasted
        return [round(count) for count in counts]

    def _head(self, index: int) -> Head:
        if index not in self._heads:
            self._heads[index] = find_head(self.arrays.images[index], without=self.arrays.masks[index])
        return self._heads[index]

    def _masked(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.arrays.images[index], self.arrays.masks[index]

    def _donor(self, index: int, rng: np.random.Generator) -> int:
        """Return the one of some donors drawn at random whose head looks most like that of slice `index`.

        A slice is never its own donor where there is another.
        """
        drawn = rng.choice(self.donors, DONORS)
        drawn = drawn[drawn != index] if (drawn != index).any() else drawn
        return int(drawn[(self._looks[drawn] @ self._looks[index]).argmax()])


def make_counterfactuals(
    settings: AugmentSettings, arrays: Arrays, classes: Sequence[str], *, seed: int
) -> CounterfactualAugmenter | None:
    """Return what makes the counterfactuals that the settings ask for, or None where they ask for none.

    Raises:
        RequestError: the data have no class without a tumour, no masks or no healthy slices.
    """
    if not settings.remove_tumour and not settings.paste_tumour:
        return None
    if NO_TUMOUR not in classes:
        raise RequestError(
            f"augment.remove_tumour, augment.paste_tumour: expected a class '{NO_TUMOUR}', received {', '.join(classes)}: "
            "add healthy slices to the data (`bts manifest`), or set both to 0"
        )
    found = CounterfactualAugmenter(
        arrays,
        healthy=list(classes).index(NO_TUMOUR),
        remove_tumour=settings.remove_tumour,
        paste_tumour=settings.paste_tumour,
        seed=seed,
    )
    shares = ", ".join(f"{name} {share:.0%}" for name, share in asdict(found.shares).items())
    log.info(f"counterfactuals: {shares}")
    return found


def head_appearance(image: np.ndarray) -> np.ndarray:
    """Return the head of a slice as (256,) float32 of mean 0 and length 1."""
    small = cv2.resize(head_box(image).cut(image), (16, 16), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    small -= small.mean()
    return np.asarray(small / max(float(np.linalg.norm(small)), 1e-6))
