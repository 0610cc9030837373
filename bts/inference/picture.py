"""How do a scan, a mask and a map become pictures? Grey window, contour, heat, and the strip that explains the heat."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image

HEAT = (
    (0, 0, 4), (27, 12, 65), (74, 12, 107), (120, 28, 109), (165, 44, 96), (207, 68, 70), (237, 105, 37), (251, 155, 6),
    (247, 209, 61), (252, 255, 164),
)  # fmt: skip
"""Anchors of matplotlib's `inferno` (CC0), evenly spaced: brightness grows with the value, also for colour-blind eyes."""
STRENGTH = 0.75
"""Share of the heat's colour in the picture where the map is 1; it falls in proportion, so that a weak map looks weak."""
CONTOUR = (0, 229, 255)
"""Colour of the mask's contour: stands out from grey and from the heat alike."""
WINDOW = (0.5, 99.5)
"""Percentiles of the scan that become black and white."""


def fitted(shape: tuple[int, int], *, side: int) -> tuple[int, int]:
    """Return (width, height) of a picture (H, W) with its longer side scaled to `side`, up or down."""
    scale = side / max(shape)
    return max(round(shape[1] * scale), 1), max(round(shape[0] * scale), 1)


def grey(image: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """Return a scan (H, W) of any range as a grey picture of that size, by robust percentiles."""
    low, high = np.percentile(image, WINDOW)
    if high <= low:
        low, high = image.min(), image.max()
    scaled = np.clip((image - low) * (255 / (high - low)), 0, 255).astype(np.uint8)
    return Image.fromarray(scaled).resize(size, Image.Resampling.BICUBIC)


def heated(scan: Image.Image, cam: np.ndarray) -> Image.Image:
    """Return a grey picture as RGB under the heat of a map (H, W) in [0, 1]."""
    values = Image.fromarray(np.rint(cam * 255).astype(np.uint8)).resize(scan.size, Image.Resampling.BILINEAR)
    return _blend(scan, values)


def heat_strip(size: tuple[int, int]) -> Image.Image:
    """Return the colours from 0 (left) to 1 as the heat shows them on a medium grey."""
    values = np.broadcast_to(np.linspace(0, 255, size[0]).astype(np.uint8), size[::-1])
    return _blend(Image.new("L", size, 110), Image.fromarray(np.ascontiguousarray(values)))


def contoured(picture: Image.Image, mask: np.ndarray, *, width: float = 2.0) -> Image.Image:
    """Return the picture with the contour of a mask (H, W) bool: antialiased, on a dark rim, so that it shows anywhere."""
    if not mask.any():
        return picture
    line = _contour(mask, picture.size, width=width)
    rim = _contour(mask, picture.size, width=width + 2).point(lambda value: value * 3 // 5)
    dark = Image.composite(Image.new("RGB", picture.size, (0, 0, 0)), picture.convert("RGB"), rim)
    return Image.composite(Image.new("RGB", picture.size, CONTOUR), dark, line)


def _blend(scan: Image.Image, values: Image.Image) -> Image.Image:
    colours = values.copy()
    colours.putpalette(_palette())
    share = values.point([round(STRENGTH * value) for value in range(256)])
    return Image.composite(colours.convert("RGB"), scan.convert("RGB"), share)


@lru_cache(maxsize=1)
def _palette() -> bytes:
    anchors = np.array(HEAT, dtype=np.float64)
    at = np.linspace(0, len(anchors) - 1, 256)
    table = np.stack([np.interp(at, np.arange(len(anchors)), channel) for channel in anchors.T], axis=1)
    return np.rint(table).astype(np.uint8).tobytes()


def _contour(mask: np.ndarray, size: tuple[int, int], *, width: float) -> Image.Image:
    """Return how much of each pixel the line covers, (0 to 255), drawn at twice the size and averaged."""
    fine = (2 * size[0], 2 * size[1])
    smooth = Image.fromarray(mask.astype(np.uint8) * 255).resize(fine, Image.Resampling.BILINEAR)
    covered = np.asarray(smooth)
    inside = covered >= min(128, int(covered.max()))  # a single pixel of a large scan must not vanish
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    reach = int(np.ceil(width)) + 1
    padded = np.pad(inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], reach)
    ring = _grown(padded, width) & _grown(~padded, width)
    line = Image.new("L", fine)
    line.paste(Image.fromarray(ring.astype(np.uint8) * 255), (int(columns[0]) - reach, int(rows[0]) - reach))
    return line.resize(size, Image.Resampling.BOX)


def _grown(region: np.ndarray, radius: float) -> np.ndarray:
    """Return a region grown by a disc."""
    reach = int(np.ceil(radius))
    grown, (height, width) = region.copy(), region.shape
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            if 0 < down * down + right * right <= radius * radius:
                to = (slice(max(down, 0), height + min(down, 0)), slice(max(right, 0), width + min(right, 0)))
                fro = (slice(max(-down, 0), height + min(-down, 0)), slice(max(-right, 0), width + min(-right, 0)))
                grown[to] |= region[fro]
    return grown
