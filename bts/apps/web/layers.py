"""Layers of the picture on the page: scan, heat map and contour, blended by the browser.

At the share `STRENGTH` of heat, where the slider begins, the three together are the picture in `overlay.png`.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from bts.inference.picture import contour_of, fitted, grey, heat_layer, png_bytes
from bts.inference.prediction import Prediction

SIDE = 640
"""Longer side of the picture in pixels."""


@dataclass(frozen=True)
class Layers:
    """Pictures of one slice as addresses that hold the picture itself.

    Attributes:
        size: (width, height) of each.
        scan: grey.
        heat: colours with their share, or None without a map.
        contour: line with its rim, or None without a mask.
    """

    size: tuple[int, int]
    scan: str
    heat: str | None
    contour: str | None


def layers_of(prediction: Prediction) -> Layers:
    """Return the layers of a slice, drawn as `overlay.png` draws them."""
    scan = grey(prediction.slice.image, fitted(prediction.slice.image.shape, side=SIDE))
    contour = None if prediction.mask is None else contour_of(prediction.mask, scan.size)
    return Layers(
        size=scan.size,
        scan=address(png_bytes(np.asarray(scan))),
        heat=None if prediction.cam is None else address(_png(heat_layer(prediction.cam, scan.size))),
        contour=None if contour is None else address(_png(contour.layer(scan.size))),
    )


def address(png: bytes) -> str:
    """Return a PNG file as an address that needs no second request."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
