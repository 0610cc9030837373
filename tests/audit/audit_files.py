"""Phantom slices as grey images, and the transformations of their copies."""

from __future__ import annotations

import functools
import io

import numpy as np
from PIL import Image, ImageFilter

from bts.data.phantom_scan import draw_slices
from bts.glossary import FIGSHARE_CLASSES


@functools.cache
def phantom_pictures() -> tuple[np.ndarray, ...]:
    """Sixteen slices (H, W) uint8, each of a phantom patient of its own."""
    drawn = (draw_slices(label=FIGSHARE_CLASSES[i % 3], n_slices=1, side=512, seed=(11, i)) for i in range(16))
    images = [next(slices)[0] for slices in drawn]
    grey = [Image.fromarray((image / image.max() * 255).astype(np.uint8)) for image in images]
    return tuple(np.asarray(image.resize((256, 256), Image.Resampling.BOX)) for image in grey)


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def resized(image: np.ndarray, rows: int, columns: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((columns, rows), Image.Resampling.BICUBIC))


def brighter(image: np.ndarray) -> np.ndarray:
    return np.rint((image / 255) ** 0.8 * 255).astype(np.uint8)


def sharpened(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.UnsharpMask(radius=2, percent=100, threshold=0)))


def head_edges(image: np.ndarray) -> tuple[int, int, int, int]:
    """Return first and last row and column with anything in them."""
    bright = image > 60
    rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def cut(image: np.ndarray, *shares: float) -> np.ndarray:
    """Return the picture without that share of the head at its top, bottom, left and right."""
    top, bottom, left, right = head_edges(image)
    height, width = bottom - top, right - left
    return image[
        top + int(shares[0] * height) : bottom - int(shares[1] * height),
        left + int(shares[2] * width) : right - int(shares[3] * width),
    ]


GUISES = {
    "mirrored": lambda image: image[:, ::-1],
    "upside down": lambda image: image[::-1],
    "turned by 90 degrees": lambda image: np.rot90(image),
    "turned by 180 degrees": lambda image: np.rot90(image, 2),
    "turned by 270 degrees": lambda image: np.rot90(image, 3),
    "transposed": lambda image: image.T,
    "anti-transposed": lambda image: np.rot90(image, 2).T,
    "recompressed": lambda image: jpeg(image, 40),
    "rescaled": lambda image: resized(image, 150, 150),
    "stretched": lambda image: resized(image, 300, 220),
    "brighter": brighter,
    "sharpened": sharpened,
    "turned by 4 degrees": lambda image: np.asarray(Image.fromarray(image).rotate(4, Image.Resampling.BICUBIC)),
    "cropped to the head": lambda image: cut(image, 0, 0, 0, 0),
    "with a wide margin": lambda image: np.pad(image, 40),
    "cropped into the head": lambda image: cut(image, 0.05, 0.0, 0.05, 0.05),
    "cropped on one side": lambda image: cut(image, 0.0, 0.08, 0.0, 0.0),
    "all at once": lambda image: jpeg(resized(cut(brighter(image), 0.04, 0.04, 0.0, 0.05)[:, ::-1], 180, 160), 60),
}
"""Name -> how a copy (uint8) is made of a picture."""
