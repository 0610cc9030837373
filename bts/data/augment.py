"""How is a training slice varied? The only module that knows albumentations, which is archived and may be replaced here."""

from __future__ import annotations

import os
from typing import Any

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else the import asks the network for a newer version

import albumentations
import cv2
import numpy as np
from albumentations.augmentations.geometric.functional import center, create_affine_transformation_matrix

from bts.data.variation import Variations
from bts.errors import RequestError
from bts.settings import AugmentSettings

cv2.setNumThreads(0)  # the pictures are small and the loader has processes; OpenCV's threads don't survive a fork


class Augmenter:
    """Random variation of a slice and its mask, a pure function of (seed, epoch, index): so workers don't matter."""

    def __init__(self, settings: AugmentSettings, *, seed: int) -> None:
        refuse_bad(settings, seed)
        self.settings = settings
        self.seed = seed
        self._pipeline: albumentations.Compose | None = None
        self._size = 0

    def __call__(self, image: np.ndarray, mask: np.ndarray, *, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return picture (S, S) uint8 and mask (S, S) uint8 of 0 and 1 as slice `index` is seen in `epoch`.

        A share of the slices is varied, the others come back as they are.
        """
        random = np.random.default_rng([self.seed, epoch, index])
        if random.random() >= self.settings.share:
            return image, mask
        pipeline = self._prepared(image.shape[0])
        pipeline.set_random_seed(int(random.integers(2**31)))
        # The mask is interpolated like the picture and cut at a half: the nearest pixel would shift it by up to half of one.
        out = pipeline(image=image, mask=mask * np.uint8(255))
        return out["image"], (out["mask"] >= 128).astype(np.uint8)

    def applied(self, image: np.ndarray, mask: np.ndarray, how: Variations, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Return picture and mask as above, varied by row `row` of given numbers; only steps that are set up are taken."""
        mask = mask * np.uint8(255)
        for step in self._prepared(len(image)).transforms:
            given = _given(step, how, row, image=image)
            if given is not None and isinstance(step, albumentations.DualTransform):
                mask = step.apply_to_mask(mask, **given)
            if given is not None:
                image = step.apply(image, **given)
        return image, (mask >= 128).astype(np.uint8)

    def _prepared(self, size: int) -> albumentations.Compose:
        if self._pipeline is None or self._size != size:
            self._pipeline, self._size = _pipeline(self.settings, size), size
        return self._pipeline


def _pipeline(settings: AugmentSettings, size: int) -> albumentations.Compose:
    steps: list[albumentations.BasicTransform] = []
    linear = {"interpolation": cv2.INTER_LINEAR, "mask_interpolation": cv2.INTER_LINEAR}
    if settings.flip:
        steps.append(albumentations.HorizontalFlip(p=0.5))
    if settings.flip_vertical:
        steps.append(albumentations.VerticalFlip(p=0.5))
    if settings.crop:
        smallest = max(1, round(size * (1 - settings.crop)))
        steps.append(albumentations.RandomSizedCrop(min_max_height=(smallest, size), size=(size, size), p=1.0, **linear))
    smallest_scale = 1 - max(settings.scale, settings.zoom_out)
    if settings.rotate or settings.scale or settings.zoom_out or settings.shift or settings.shear:
        steps.append(
            albumentations.Affine(
                rotate=(-settings.rotate, settings.rotate),
                scale=(smallest_scale, 1 + settings.scale),
                translate_percent=(-settings.shift, settings.shift),
                shear=(-settings.shear, settings.shear),
                border_mode=cv2.BORDER_REPLICATE if settings.fill == "nearest" else cv2.BORDER_CONSTANT,
                fill=0,
                fill_mask=0,
                p=1.0,
                **linear,
            )
        )
    if settings.brightness:
        limit = (-settings.brightness, settings.brightness)
        steps.append(
            # Brightness relative to the picture's own mean: relative to 255 it would lift the black ground to grey.
            albumentations.RandomBrightnessContrast(
                brightness_limit=limit, contrast_limit=limit, brightness_by_max=False, p=1.0
            )
        )
    return albumentations.Compose(steps)


def _given(step: albumentations.BasicTransform, how: Variations, row: int, *, image: np.ndarray) -> dict[str, Any] | None:
    """Return what a step would have drawn, or None where it is not taken."""
    if isinstance(step, albumentations.HorizontalFlip):
        return {} if how.flip[row] else None
    if isinstance(step, albumentations.VerticalFlip):
        return {} if how.flip_vertical[row] else None
    if isinstance(step, albumentations.RandomSizedCrop):
        left, top, side = (int(value) for value in how.crop_px[row])
        return {"crop_coords": (left, top, left + side, top + side)}
    if isinstance(step, albumentations.Affine):
        shift, shear, scale = (dict(zip("xy", pair[row], strict=True)) for pair in (how.shift_px, how.shear_deg, how.scale))
        matrix = create_affine_transformation_matrix(shift, shear, scale, how.rotate_deg[row], center(image.shape))
        return {"matrix": matrix, "output_shape": image.shape}
    return {"alpha": float(how.contrast[row]), "beta": float(how.brightness[row] * image.mean())}


def refuse_bad(settings: AugmentSettings, seed: int) -> None:
    """Raise RequestError for a seed or a setting that is out of range."""
    if seed < 0:
        raise RequestError(f"seed {seed}: expected 0 or more")
    limits = {"share": 1.0, "rotate": 180.0, "crop": 0.9, "scale": 0.9, "zoom_out": 0.9, "shift": 0.9, "shear": 45.0}
    limits["brightness"] = 1.0
    for name, highest in limits.items():
        value = getattr(settings, name)
        if not 0 <= value <= highest:
            raise RequestError(f"augment.{name} {value:g}: expected 0 to {highest:g}")
