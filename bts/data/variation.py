"""By which numbers is each slice of an epoch varied? Drawn apart from their application, which `bts.data.resident` does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bts.settings import AugmentSettings


@dataclass(frozen=True, eq=False)
class Variations:
    """How N slices of S x S pixels are varied, in this order: flips, crop, affine map about the centre, contrast.

    Attributes:
        flip: (N,) bool, left to right.
        flip_vertical: (N,) bool, top to bottom.
        crop_px: (N, 3) left edge, upper edge and side of the square that is resized to S x S.
        rotate_deg: (N,) positive turns the picture anticlockwise.
        scale: (N, 2) factors along x and y.
        shear_deg: (N, 2) along x, which moves by tan(shear) times y, and along y.
        shift_px: (N, 2) along x and y, whole pixels.
        contrast: (N,) factor on the grey values.
        brightness: (N,) what is then added, as a share of the varied picture's own mean.
    """

    flip: np.ndarray
    flip_vertical: np.ndarray
    crop_px: np.ndarray
    rotate_deg: np.ndarray
    scale: np.ndarray
    shear_deg: np.ndarray
    shift_px: np.ndarray
    contrast: np.ndarray
    brightness: np.ndarray


def no_variations(count: int, *, size: int) -> Variations:
    """Return numbers that leave `count` slices as they are."""
    return Variations(
        flip=np.zeros(count, dtype=bool),
        flip_vertical=np.zeros(count, dtype=bool),
        crop_px=np.tile([0.0, 0.0, size], (count, 1)),
        rotate_deg=np.zeros(count),
        scale=np.ones((count, 2)),
        shear_deg=np.zeros((count, 2)),
        shift_px=np.zeros((count, 2)),
        contrast=np.ones(count),
        brightness=np.zeros(count),
    )


def draw_variations(settings: AugmentSettings, count: int, *, size: int, seed: int, epoch: int) -> Variations:
    """Return how each of `count` slices is seen in an epoch.

    A pure function of (seed, epoch, index): row i is the same however many slices there are, wherever a run was interrupted and
    whichever device asks. The distributions are those of `bts.data.augment.Augmenter`, the numbers are not.
    """
    # a stream of its own: [seed, epoch] alone would draw again what the order of the epoch was drawn from
    random = np.random.default_rng(np.random.SeedSequence([seed, epoch], spawn_key=(1,))).random((count, 15))
    varied = random[:, 0] < settings.share
    either = 2 * random - 1  # uniform in [-1, 1)
    side = size - np.floor(random[:, 3] * (size - max(1, round(size * (1 - settings.crop))) + 1))
    corner = np.floor(random[:, 4:6] * (size - side + 1)[:, None])
    lowest, highest = 1 - max(settings.scale, settings.zoom_out), 1 + settings.scale

    def where(drawn: np.ndarray, plain: float) -> np.ndarray:
        return np.where(varied.reshape(-1, *[1] * (drawn.ndim - 1)), drawn, plain)

    return Variations(
        flip=varied & settings.flip & (random[:, 1] < 0.5),
        flip_vertical=varied & settings.flip_vertical & (random[:, 2] < 0.5),
        crop_px=np.column_stack([where(corner, 0.0), where(side, size)]),
        rotate_deg=where(settings.rotate * either[:, 6], 0.0),
        scale=where(lowest + (highest - lowest) * random[:, 7:9], 1.0),
        shear_deg=where(settings.shear * either[:, 9:11], 0.0),
        shift_px=where(np.trunc(settings.shift * size * either[:, 11:13]), 0.0),
        contrast=where(1 + settings.brightness * either[:, 13], 1.0),
        brightness=where(settings.brightness * either[:, 14], 0.0),
    )


def backward_matrices(how: Variations, *, size: int) -> np.ndarray:
    """Return (N, 2, 3): where in the cropped and resized picture lies what the varied one shows at column x and row y.

    Pixel centres are whole numbers and the picture turns about (S - 1) / 2. Forward the order is zoom, rotation, shear, shift.
    """
    angle, shear = np.deg2rad(how.rotate_deg), np.tan(np.deg2rad(how.shear_deg))
    cos, sin, one = np.cos(angle), np.sin(angle), np.ones_like(angle)
    zoom = how.scale[:, None, :] * np.eye(2)
    turn = np.stack([cos, sin, -sin, cos], axis=1).reshape(-1, 2, 2)
    lean = np.stack([one, shear[:, 0], shear[:, 1], one], axis=1).reshape(-1, 2, 2)
    back = np.linalg.inv(lean @ turn @ zoom)
    centre = np.full((2, 1), (size - 1) / 2)
    return np.concatenate([back, centre - back @ (centre + how.shift_px[:, :, None])], axis=2)
