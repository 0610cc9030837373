"""Out-of-distribution images: generated, from scikit-image's samples, and altered from slices.

Some are stand-ins, not scans: a T2-like slice is a T1 slice with inverted tissue intensities, a CT-like one has a white ring of
bone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from bts.data.phantom_scan import draw_slices
from bts.data.readers.picture import open_picture
from bts.glossary import FIGSHARE_CLASSES

HEAD_MODEL = "phantom.png"
"""scikit-image's Shepp-Logan phantom, which is not a photograph."""
SIDE = 160
"""Side in pixels of generated images."""


def made_images(*, seed: int = 0, phantoms: int = 20) -> dict[str, list[np.ndarray]]:
    """Return images (H, W) by kind that need no slice of a patient."""
    random = np.random.default_rng(seed)
    photographs = sample_photographs()
    row, column = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    gradients = [row, column, row + column, np.hypot(row - SIDE / 2, column - SIDE / 2)]
    noise = [
        ndimage.gaussian_filter(random.normal(size=(SIDE, SIDE)), width) for width in (0, 1, 2, 4, 8, 16) for _ in range(5)
    ]
    heads = (
        picture
        for number in range(phantoms)
        for picture, _ in draw_slices(label=FIGSHARE_CLASSES[number % 3], n_slices=1, side=256, seed=(seed, 77, number))
    )
    return {
        "photograph, drawing or page": photographs,
        "quarter of one": [part for each in photographs for part in _quarters(each)],
        "noise, fine to coarse": noise,
        "gradient": gradients,
        "checkerboard or stripes": [(row // size + column // size * cross) % 2 for size in (4, 10, 20, 40) for cross in (0, 1)],
        "phantom of bts (drawn to look like a slice)": list(heads),
    }


def sample_photographs() -> list[np.ndarray]:
    """Return the images that come with scikit-image, as grey values; none is downloaded."""
    import skimage

    files = sorted(Path(skimage.__file__).parent.glob("data/*.[pj][np]g"))
    return [_grey(file) for file in files if file.name != HEAD_MODEL]


def _grey(file: Path) -> np.ndarray:
    with open_picture(file) as picture:
        return np.asarray(picture.convert("L"), np.float32)


def altered_slices(squares: Sequence[np.ndarray]) -> dict[str, list[np.ndarray]]:
    """Return images by kind, altered from slices (S, S) uint8."""
    turned = {
        "slice with inverted intensities": [255 - each for each in squares],
        "slice upside down": [each[::-1] for each in squares],
        "slice rotated by 90 degrees": [np.rot90(each) for each in squares],
        "T2-like: inverted tissue intensities": [t2_like(each) for each in squares],
        "CT-like: white bone, faint tissue": [ct_like(each) for each in squares],
        "screenshot of a viewer, light": [screenshot(each, ground=235, ink=40) for each in squares],
        "screenshot of a viewer, dark": [screenshot(each, ground=20, ink=220) for each in squares],
        "four slices in one image": [np.block([[a, a], [a, a]]) for a in squares],
    }
    return {kind: [np.asarray(each, np.float32) for each in pictures] for kind, pictures in turned.items()}


def head_of(square: np.ndarray) -> np.ndarray:
    """Return the head (S, S) bool: the largest bright component with its holes filled."""
    bright = ndimage.binary_closing(ndimage.gaussian_filter(square.astype(np.float32), 2) > 25, iterations=6)
    pieces, count = ndimage.label(ndimage.binary_fill_holes(bright))
    return pieces == 1 + np.bincount(pieces.ravel())[1:].argmax() if count else np.zeros(square.shape, bool)


def t2_like(square: np.ndarray) -> np.ndarray:
    """Return a slice with inverted intensities inside the head."""
    return np.where(head_of(square), 255 - square.astype(np.float32), 0)


def ct_like(square: np.ndarray) -> np.ndarray:
    """Return a slice with a white ring, 1/20 of the side wide, around tissue of low contrast."""
    head = head_of(square)
    skin, inside = (ndimage.binary_erosion(head, iterations=max(1, len(square) // share)) for share in (80, 23))
    tissue = np.where(head, 70 + 0.15 * square.astype(np.float32), 0)
    return np.where(skin & ~inside, 255, tissue)


def screenshot(square: np.ndarray, *, ground: int, ink: int) -> np.ndarray:
    """Return a slice in a window with a title bar and a list."""
    side = len(square)
    window = np.full((side * 3 // 2, side * 9 // 4), ground, np.float32)
    window[: side // 10] = (ground + ink) / 2
    for number, top in enumerate(range(side // 6, len(window) - 8, 8)):
        window[top : top + 3, 6 : 6 + side // 8 + (number * 37) % (side // 3)] = ink
    window[side // 4 : side // 4 + side, side : 2 * side] = square
    return window


def _quarters(picture: np.ndarray) -> list[np.ndarray]:
    rows, columns = (length // 2 for length in picture.shape)
    return [picture[r : r + rows, c : c + columns] for r in (0, rows) for c in (0, columns)]
