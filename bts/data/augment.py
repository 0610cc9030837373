"""Random augmentation of training slices. The only module that imports albumentations, which is archived.

Parameters are drawn first (`draw_params`) and applied by a deterministic function (`apply_augment`), as torchio does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from albumentations.augmentations.crops import functional as crops
from albumentations.augmentations.geometric import functional as geometric
from albumentations.augmentations.pixel import functional as pixel

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
        skull_px: depth of the outermost layer of the head that is blackened, as a crude skull removal.
        bias: coefficients of the logarithm of a smooth multiplicative field: x, y, x * y, x^2 - 1/3, y^2 - 1/3.
        gamma: exponent on the grey values.
        contrast: factor on the grey values.
        brightness: added afterwards, as a share of the slice's own mean.
        blur_px: standard deviation of a Gaussian blur.
        sharpen: share of the difference from a Gaussian blur that is added.
        downscale: factor of a reduction that is interpolated back to the size.
        noise: standard deviation of Gaussian noise, as a share of the range.
        noise_seed: seed of the noise.
        jpeg_quality: quality of JPEG compression; 0 for none.
    """

    flip: bool = False
    flip_vertical: bool = False
    crop_px: tuple[int, int, int] | None = None
    rotate_deg: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    shear_deg: tuple[float, float] = (0.0, 0.0)
    shift_px: tuple[int, int] = (0, 0)
    fill: Literal["black", "nearest"] = "black"
    skull_px: float = 0.0
    bias: tuple[float, ...] = ()
    gamma: float = 1.0
    contrast: float = 1.0
    brightness: float = 0.0
    blur_px: float = 0.0
    sharpen: float = 0.0
    downscale: float = 1.0
    noise: float = 0.0
    noise_seed: int = 0
    jpeg_quality: int = 0


@dataclass(frozen=True, kw_only=True)
class Domain:
    """Ranges of the preset `domain`: appearance of other scanners, publishers and file formats.

    Each operation is drawn by itself with the probability in `chances`; lengths are in pixels of a slice of 224 pixels.
    """

    scale: tuple[float, float] = (0.6, 1.25)
    margin: float = 0.1
    skull_px: tuple[float, float] = (10.0, 20.0)
    bias: float = 0.4
    gamma: tuple[float, float] = (0.6, 1.6)
    contrast: tuple[float, float] = (0.7, 1.3)
    brightness: float = 0.2
    blur_px: tuple[float, float] = (0.4, 1.5)
    sharpen: tuple[float, float] = (0.3, 1.5)
    downscale: tuple[float, float] = (0.4, 0.9)
    noise: tuple[float, float] = (0.005, 0.04)
    jpeg_quality: tuple[int, int] = (30, 95)


DOMAIN = Domain()
CHANCES = {
    "scale": 0.7,
    "margin": 0.5,
    "skull_px": 0.08,
    "bias": 0.3,
    "gamma": 0.5,
    "contrast": 0.5,
    "blur_px": 0.2,
    "sharpen": 0.15,
    "downscale": 0.2,
    "noise": 0.25,
    "jpeg_quality": 0.3,
}
"""Probability of each operation of the preset `domain`."""
DOMAIN_SIDE = 224
SKULL_TUMOUR = 0.05
"""Share of a tumour that skull removal may take away; where it would be more, the skull stays."""


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
    params = AugmentParams(
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
    return _draw_domain(params, size=size, rng=rng) if settings.preset == "domain" else params


def _draw_domain(params: AugmentParams, *, size: int, rng: np.random.Generator) -> AugmentParams:
    """Return the parameters with those of the preset `domain` drawn on top."""
    happens = dict(zip(CHANCES, rng.random(len(CHANCES)) < np.array(list(CHANCES.values())), strict=True))
    unit = size / DOMAIN_SIDE

    def uniform(name: str, ends: tuple[float, float], otherwise: float) -> float:
        drawn = float(rng.uniform(*ends))
        return drawn if happens[name] else otherwise

    def geometric_mean(name: str, ends: tuple[float, float]) -> float:
        drawn = float(np.exp(rng.uniform(*np.log(ends))))
        return drawn if happens[name] else 1.0

    zoom = geometric_mean("scale", DOMAIN.scale)
    margin = rng.uniform(-DOMAIN.margin, DOMAIN.margin, 2) * size * happens["margin"]
    bias = tuple(float(value) for value in rng.uniform(-DOMAIN.bias, DOMAIN.bias, 5))
    return replace(
        params,
        scale=(params.scale[0] * zoom, params.scale[1] * zoom),
        shift_px=(params.shift_px[0] + int(margin[0]), params.shift_px[1] + int(margin[1])),
        skull_px=uniform("skull_px", DOMAIN.skull_px, 0.0) * unit,
        bias=bias if happens["bias"] else (),
        gamma=geometric_mean("gamma", DOMAIN.gamma),
        contrast=params.contrast * uniform("contrast", DOMAIN.contrast, 1.0),
        brightness=params.brightness + float(rng.uniform(-DOMAIN.brightness, DOMAIN.brightness)) * happens["contrast"],
        blur_px=uniform("blur_px", DOMAIN.blur_px, 0.0) * unit,
        sharpen=uniform("sharpen", DOMAIN.sharpen, 0.0),
        downscale=uniform("downscale", DOMAIN.downscale, 1.0),
        noise=uniform("noise", DOMAIN.noise, 0.0),
        noise_seed=int(rng.integers(2**31)),
        jpeg_quality=round(uniform("jpeg_quality", DOMAIN.jpeg_quality, 0)),
    )


def apply_augment(image: np.ndarray, mask: np.ndarray, params: AugmentParams) -> tuple[np.ndarray, np.ndarray]:
    """Return a slice (S, S) uint8 and its mask (S, S) uint8 of 0 and 1 with the given parameters applied.

    The mask is interpolated like the image and cut at a half: nearest-neighbour interpolation would shift it by up to half a
    pixel.
    """
    image, mask = _move(image, params), (_move(mask * np.uint8(255), params) >= 128).astype(np.uint8)
    if params.skull_px:
        image = _without_skull(image, mask, depth_px=params.skull_px)
    return _change_resolution(_change_contrast(image, params), params), mask


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


def _without_skull(image: np.ndarray, mask: np.ndarray, *, depth_px: float) -> np.ndarray:
    """Return the slice without the outermost layer of the head, or as it is where that would take a tumour away."""
    bright = (cv2.GaussianBlur(image, (0, 0), 2) > 0.15 * max(float(np.percentile(image, 99)), 1.0)).astype(np.uint8)
    contours, _ = cv2.findContours(bright, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return image
    head = np.zeros_like(image)
    cv2.drawContours(head, [max(contours, key=cv2.contourArea)], -1, 1, thickness=cv2.FILLED)
    # a border of 0, so that the depth counts from the edge of the slice too where the head touches it
    inside = cv2.distanceTransform(np.pad(head, 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1] > depth_px
    if mask.any() and (mask.astype(bool) & ~inside).sum() > SKULL_TUMOUR * mask.sum():
        return image
    return image * inside.astype(np.uint8)


def _change_contrast(image: np.ndarray, params: AugmentParams) -> np.ndarray:
    if params.bias:
        image = np.rint(image * bias_field(params.bias, size=len(image))).clip(0, 255).astype(np.uint8)
    if params.gamma != 1.0:
        image = pixel.gamma_transform(image, params.gamma)
    if params.contrast == 1.0 and params.brightness == 0.0:
        return image
    # relative to the slice's own mean: relative to 255 it would lift the black background to grey
    changed = image * np.float32(params.contrast) + np.float32(params.brightness * image.mean())
    return changed.clip(0, 255).astype(np.uint8)


def bias_field(coefficients: tuple[float, ...], *, size: int) -> np.ndarray:
    """Return a smooth field (S, S) float32 of factors around 1: the exponential of a polynomial of the second degree."""
    line = np.linspace(-1, 1, size, dtype=np.float32)
    x, y = line[None, :], line[:, None]
    terms = (x + 0 * y, y + 0 * x, x * y, x * x - 1 / 3 + 0 * y, y * y - 1 / 3 + 0 * x)
    field = sum(np.float32(value) * term for value, term in zip(coefficients, terms, strict=True))
    return np.asarray(np.exp(field), dtype=np.float32)


def _change_resolution(image: np.ndarray, params: AugmentParams) -> np.ndarray:
    if params.blur_px:
        image = cv2.GaussianBlur(image, (0, 0), params.blur_px)
    if params.sharpen:
        sharp = pixel.sharpen_gaussian(image.astype(np.float32) / 255, params.sharpen, 0, 1.5)
        image = np.rint(sharp * 255).astype(np.uint8)
    if params.downscale != 1.0:
        image = pixel.downscale(image, params.downscale, cv2.INTER_AREA, cv2.INTER_LINEAR)
    if params.noise:
        noise = np.random.default_rng(params.noise_seed).standard_normal(image.shape, dtype=np.float32)
        image = np.rint(image + noise * np.float32(255 * params.noise)).clip(0, 255).astype(np.uint8)
    if params.jpeg_quality:
        image = pixel.image_compression(image[..., None], params.jpeg_quality, ".jpg")[..., 0]
    return image


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
