"""Random augmentation of training slices. The only module that imports albumentations, which is archived.

Parameters are drawn first (`draw_params`) and applied by a deterministic function (`apply_augment`), as torchio does.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # otherwise the import looks for a newer version over the network

import cv2
import numpy as np
from albumentations.augmentations.crops import functional as crops
from albumentations.augmentations.geometric import functional as geometric

from bts.errors import RequestError
from bts.settings import AugmentSettings

cv2.setNumThreads(0)  # slices are small and the loader has processes; OpenCV's threads do not survive a fork


@dataclass(frozen=True, kw_only=True)
class AugmentParams:
    """Parameters of one augmented slice, applied in the order of the fields; the defaults change nothing.

    Attributes:
        flip: left to right.
        flip_vertical: top to bottom.
        crop_px: left edge, top edge and side of the square that is resized to the slice's size.
        rotate_deg: positive turns the slice anticlockwise about its centre.
        scale: factors along x and y.
        shear_deg: along x and y.
        shift_px: along x and y.
        fill: content of pixels beyond the slice: black, or its nearest pixel.
        contrast: factor on the grey values.
        brightness: added afterwards, as a share of the slice's own mean.
    """

    flip: bool = False
    flip_vertical: bool = False
    crop_px: tuple[int, int, int] | None = None
    rotate_deg: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    shear_deg: tuple[float, float] = (0.0, 0.0)
    shift_px: tuple[int, int] = (0, 0)
    fill: Literal["black", "nearest"] = "black"
    contrast: float = 1.0
    brightness: float = 0.0


def draw_params(settings: AugmentSettings, *, size: int, rng: np.random.Generator) -> AugmentParams:
    """Draw the parameters of one slice of `size` x `size` pixels.

    The same number of draws is made whatever the settings are, so that changing one does not change the others.
    """
    at_random = rng.random(14)
    either = 2 * at_random - 1  # uniform in [-1, 1)
    smallest = max(1, round(size * (1 - settings.crop)))
    side = size - int(at_random[2] * (size - smallest + 1))
    left, top = (int(value * (size - side + 1)) for value in at_random[3:5])
    low, high = 1 - max(settings.scale, settings.zoom_out), 1 + settings.scale
    scale_x, scale_y = low + (high - low) * at_random[6:8]
    shear_x, shear_y = settings.shear * either[8:10]
    shift_x, shift_y = (settings.shift * size * either[10:12]).astype(int)
    return AugmentParams(
        flip=settings.flip and bool(at_random[0] < 0.5),
        flip_vertical=settings.flip_vertical and bool(at_random[1] < 0.5),
        crop_px=(left, top, side) if side < size else None,
        rotate_deg=settings.rotate * float(either[5]),
        scale=(float(scale_x), float(scale_y)),
        shear_deg=(float(shear_x), float(shear_y)),
        shift_px=(int(shift_x), int(shift_y)),
        fill=settings.fill,
        contrast=1 + settings.brightness * float(either[12]),
        brightness=settings.brightness * float(either[13]),
    )


def apply_augment(image: np.ndarray, mask: np.ndarray, params: AugmentParams) -> tuple[np.ndarray, np.ndarray]:
    """Return a slice (S, S) uint8 and its mask (S, S) uint8 of 0 and 1 with the given parameters applied.

    The mask is interpolated like the image and cut at a half: nearest-neighbour interpolation would shift it by up to half a
    pixel.
    """
    image, mask = _move(image, params), _move(mask * np.uint8(255), params)
    return _change_contrast(image, params), (mask >= 128).astype(np.uint8)


def _move(array: np.ndarray, params: AugmentParams) -> np.ndarray:
    """Return an image or mask (S, S) uint8 with the geometric part of the parameters applied."""
    if params.flip:
        array = geometric.hflip(array)
    if params.flip_vertical:
        array = geometric.vflip(array)
    if params.crop_px is not None:
        left, top, side = params.crop_px
        cropped = crops.crop(array, left, top, left + side, top + side)
        array = geometric.resize(cropped, array.shape, cv2.INTER_LINEAR)
    shift, shear, scale = (dict(zip("xy", pair, strict=True)) for pair in (params.shift_px, params.shear_deg, params.scale))
    matrix = geometric.create_affine_transformation_matrix(
        shift, shear, scale, params.rotate_deg, geometric.center(array.shape)
    )
    if np.array_equal(matrix, np.eye(3)):
        return np.ascontiguousarray(array)
    border = cv2.BORDER_REPLICATE if params.fill == "nearest" else cv2.BORDER_CONSTANT
    return np.asarray(geometric.warp_affine(array, matrix, cv2.INTER_LINEAR, 0, border, array.shape))


def _change_contrast(image: np.ndarray, params: AugmentParams) -> np.ndarray:
    if params.contrast == 1.0 and params.brightness == 0.0:
        return image
    # relative to the slice's own mean: relative to 255 it would lift the black background to grey
    changed = image * np.float32(params.contrast) + np.float32(params.brightness * image.mean())
    return changed.clip(0, 255).astype(np.uint8)


class Augmenter:
    """Random augmentation of a slice and its mask, a pure function of (seed, epoch, index): workers do not matter."""

    def __init__(self, settings: AugmentSettings, *, seed: int) -> None:
        if seed < 0:
            raise RequestError(f"seed {seed}: expected 0 or more")
        self.settings = settings
        self.seed = seed

    def __call__(self, image: np.ndarray, mask: np.ndarray, *, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return image (S, S) uint8 and mask (S, S) uint8 of 0 and 1 of slice `index` in `epoch`.

        A share of the slices is augmented, the others are returned as they are.
        """
        rng = np.random.default_rng([self.seed, epoch, index])
        if rng.random() >= self.settings.share:
            return image, mask
        return apply_augment(image, mask, draw_params(self.settings, size=len(image), rng=rng))
