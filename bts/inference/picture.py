"""Pictures of scans, masks and class maps: grey window, contour, heat map, and a fast PNG encoder.

The encoder uses one filter for all rows instead of a search for the best. Beside the network, compression takes most of the
time per scan. Intel's ISA-L takes a quarter of zlib's time for files 3% larger; where it is not installed (there is no wheel
for some platforms), zlib is used.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from PIL import Image

from bts.data.preprocess import percentiles

isal_zlib: Any = import_module("isal.isal_zlib") if find_spec("isal") else None

SIGNATURE = b"\x89PNG\r\n\x1a\n"
UP = 2
"""Filter 2 of the PNG specification (ISO 15948, section 9): each byte minus the one above it. Works for pages and scans."""
ZLIB_LEVEL, ISAL_LEVEL = 1, 2
"""zlib's fastest; the second of ISA-L's four, as fast as its first, with smaller files."""
COLOUR = {2: 0, 3: 2}
"""PNG colour type by the number of array axes: grey, RGB."""

HEAT = (
    (95, 19, 110), (132, 32, 107), (168, 46, 95), (203, 65, 73), (230, 93, 47), (247, 130, 18), (252, 174, 18),
    (245, 219, 76), (252, 255, 164),
)  # fmt: skip
"""Anchors of the upper part of matplotlib's `inferno` (CC0), evenly spaced. Brightness increases with the value, also for
colour-blind readers; the darkest part is left out, as it would be invisible on a dark scan."""
STRENGTH = 1.0
"""Share of the heat layer that is drawn; the slider of the page begins here."""
DIMMED = 0.5
"""Brightness of the scan under the heat map, so that no tissue is as bright as the colours."""
OPACITY, RISE = 0.85, 0.12
"""Opacity of the colours where the map is 1, and the value at which it has reached 63% of that. Values are read from hue and
brightness, which must not depend on the tissue below; only near 0 the scan shows through."""
CONTOUR = (0, 229, 255)
"""Colour of the mask's contour, distinct from grey and from the heat map."""
WINDOW = (0.5, 99.5)
"""Percentiles of the scan that are drawn black and white."""


def fitted(shape: tuple[int, int], *, side: int) -> tuple[int, int]:
    """Return (width, height) of a picture (H, W) with its longer side scaled to `side`, up or down."""
    scale = side / max(shape)
    return max(round(shape[1] * scale), 1), max(round(shape[0] * scale), 1)


def grey(image: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """Return a scan (H, W) of any range as a grey picture of that size, windowed by percentiles."""
    step = max(min(image.shape) // 256, 1)  # percentiles of a large scan from every second pixel: a quarter of the time
    low, high = percentiles(image[::step, ::step], WINDOW)
    if high <= low:
        low, high = image.min(), image.max()
    scaled = image - low  # in place from here: this runs for every slice that is drawn
    scaled *= 255 / (high - low)
    scaled = np.clip(scaled, 0, 255, out=scaled).astype(np.uint8)
    return Image.fromarray(scaled).resize(size, Image.Resampling.BICUBIC)


def heated(scan: Image.Image, cam: np.ndarray) -> Image.Image:
    """Return a grey picture as RGB, dimmed, with the heat map of a class map (H, W) in [0, 1] over it."""
    values = Image.fromarray(as_bytes(cam)).resize(scan.size, Image.Resampling.BILINEAR)
    pairs = np.asarray(values).astype(np.uint16) << 8
    pairs |= np.asarray(scan)
    return Image.frombytes("RGB", scan.size, _blends()[pairs], "raw", "RGBX")


def heat_layer(cam: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """Return the heat map of a class map (H, W) in [0, 1] as RGBA, dimming included; over a grey picture it is `heated`."""
    values = Image.fromarray(as_bytes(cam)).resize(size, Image.Resampling.BILINEAR)
    colours, opacity = _colours(), _opacity()
    covered = 1 - DIMMED * (1 - opacity)  # by black, then by the colour
    table = np.concatenate([colours * (opacity / covered)[:, None], 255 * covered[:, None]], axis=1)
    return Image.fromarray(np.rint(table).astype(np.uint8)[np.asarray(values)], "RGBA")


def as_bytes(share: np.ndarray) -> np.ndarray:
    """Return a map in [0, 1] as uint8, 255 for 1."""
    scaled = share * 255
    return np.rint(scaled, out=scaled).astype(np.uint8)


@lru_cache(maxsize=4)
def heat_strip(size: tuple[int, int]) -> Image.Image:
    """Return the colour scale from 0 (left) to 1 over a medium grey."""
    cam = np.broadcast_to(np.linspace(0, 1, size[0], dtype=np.float32), size[::-1])
    return heated(Image.new("L", size, 110), np.ascontiguousarray(cam))


@dataclass(frozen=True)
class Contour:
    """Contour of a mask, rasterised once for all pictures of a scan.

    Attributes:
        at: x and y of its upper left corner in the picture.
        line: coverage of the line in each pixel, 0 to 255.
        rim: coverage of the dark rim under it, which separates it from bright surroundings.
    """

    at: tuple[int, int]
    line: Image.Image
    rim: Image.Image

    def draw(self, picture: Image.Image) -> None:
        """Draw it into an RGB picture."""
        picture.paste((0, 0, 0), self.at, self.rim)
        picture.paste(CONTOUR, self.at, self.line)

    def layer(self, size: tuple[int, int]) -> Image.Image:
        """Return the contour alone, RGBA, to be laid over a picture of that size."""
        line, rim = (np.asarray(part, np.float32) / 255 for part in (self.line, self.rim))
        opaque = line + rim * (1 - line)
        share = np.divide(line, opaque, out=np.zeros_like(line), where=opaque > 0)
        colours = np.concatenate([share[..., None] * CONTOUR, 255 * opaque[..., None]], axis=2)
        layer = Image.new("RGBA", size)
        layer.paste(Image.fromarray(np.rint(colours).astype(np.uint8), "RGBA"), self.at)
        return layer


def contour_of(mask: np.ndarray, size: tuple[int, int], *, width: float = 2.0) -> Contour | None:
    """Return the antialiased contour of a mask (H, W) bool on a picture of that size, None where the mask is empty.

    The mask is enlarged to twice the size with interpolation and thresholded at a half; the line covers the pixels within half
    its width of the edge; downsampling antialiases it.

    Args:
        mask: (H, W) bool.
        size: (width, height) of the picture.
        width: width of the line in pixels of the picture.
    """
    if not mask.any():
        return None
    at, inside = _enlarged(mask, size, around=int(np.ceil(width)) + 2)
    line, rim = _rings(inside, (width, width + 2))
    return Contour(at, line.reduce(2), rim.reduce(2).point([value * 3 // 5 for value in range(256)]))


@lru_cache(maxsize=1)
def _blends() -> np.ndarray:
    """Return (65536,) uint32: the blended pixel (red, green, blue, unused) by map value times 256 plus grey value."""
    values, scan = np.divmod(np.arange(65536), 256)
    opacity = _opacity()[values][:, None]
    table = np.zeros((65536, 4), np.uint8)
    table[:, :3] = np.rint(opacity * _colours()[values] + (1 - opacity) * DIMMED * scan[:, None])
    return table.view(np.uint32)[:, 0]


@lru_cache(maxsize=1)
def _colours() -> np.ndarray:
    """Return the colour (256, 3) float64 of each map value."""
    anchors = np.array(HEAT, dtype=np.float64)
    at = np.linspace(0, len(anchors) - 1, 256)
    return np.stack([np.interp(at, np.arange(len(anchors)), channel) for channel in anchors.T], axis=1)


@lru_cache(maxsize=1)
def _opacity() -> np.ndarray:
    """Return the opacity (256,) float64 of each map value: 0 at 0, rising steeply, then nearly constant."""
    return OPACITY * (1 - np.exp(-np.linspace(0, 1, 256) / RISE))


def _enlarged(mask: np.ndarray, size: tuple[int, int], *, around: int) -> tuple[tuple[int, int], np.ndarray]:
    """Return the corner of the mask with a border in the picture, and that part at twice the picture's size, (h, w) bool."""
    across, down = size[0] / mask.shape[1], size[1] / mask.shape[0]
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    left, top = int(columns[0] * across) - around, int(rows[0] * down) - around
    right, bottom = int((columns[-1] + 1) * across) + around + 1, int((rows[-1] + 1) * down) + around + 1
    border = int((around + 1) / min(across, down)) + 2
    padded = Image.fromarray(np.pad(mask.astype(np.uint8) * 255, border))  # beyond the scan there is no tumour
    box = (left / across + border, top / down + border, right / across + border, bottom / down + border)
    fine = (2 * (right - left), 2 * (bottom - top))
    covered = np.asarray(padded.resize(fine, Image.Resampling.BILINEAR, box=box))
    return (left, top), covered >= min(128, int(covered.max()))  # a single pixel of a large scan must not vanish


def _rings(inside: np.ndarray, radii: Sequence[float]) -> list[Image.Image]:
    """Return the bands within each radius of the edge, on either side of it."""
    grown = zip(_grown(inside, radii), _grown(~inside, radii), strict=True)
    return [Image.fromarray((one & other).view(np.uint8) * np.uint8(255)) for one, other in grown]


def _grown(region: np.ndarray, radii: Sequence[float]) -> list[np.ndarray]:
    """Return a region dilated by a disc of each radius, one row of the disc after another."""
    wide = [region]  # grown to both sides by 0, 1, 2, ... pixels
    for right in range(1, math.floor(max(radii)) + 1):
        longer = wide[-1].copy()
        longer[:, right:] |= region[:, :-right]
        longer[:, :-right] |= region[:, right:]
        wide.append(longer)
    found = []
    for radius in radii:
        grown = wide[math.floor(radius)].copy()
        for down in range(1, math.floor(radius) + 1):
            row = wide[math.floor(math.sqrt(radius * radius - down * down))]
            grown[down:] |= row[:-down]
            grown[:-down] |= row[down:]
        found.append(grown)
    return found


def png_bytes(picture: np.ndarray) -> bytes:
    """Return the PNG file of a picture (H, W) grey or (H, W, 3) RGB, uint8; deterministic for a given compressor.

    >>> png_bytes(np.zeros((2, 3), np.uint8))[1:4]
    b'PNG'
    """
    height, width = picture.shape[:2]
    flat = np.ascontiguousarray(picture, dtype=np.uint8).reshape(height, -1)
    rows = np.empty((height, 1 + flat.shape[1]), np.uint8)
    rows[:, 0] = UP
    rows[0, 1:] = flat[0]
    np.subtract(flat[1:], flat[:-1], out=rows[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 8, COLOUR[picture.ndim], 0, 0, 0)
    return SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", _compressed(rows)) + _chunk(b"IEND", b"")


def _compressed(rows: np.ndarray) -> bytes:
    if isal_zlib is None:
        return zlib.compress(rows.data, ZLIB_LEVEL)
    return isal_zlib.compress(rows, ISAL_LEVEL)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
