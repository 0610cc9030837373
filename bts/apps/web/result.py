"""Result of a scan as the page keeps it, its pictures in layers, and its files.

At the share `STRENGTH` of heat, where the slider begins, the layers together are the picture in `overlay.png`.
"""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bts.data.readers.scan import Scan
from bts.inference.picture import contour_of, fitted, grey, heat_layer, png_bytes
from bts.inference.prediction import Prediction
from bts.inference.write import RESULT

BATCH_ZIP, PRINT = "results.zip", "print.html"
FILES = {
    "mask.png": "Mask (PNG)",
    "mask.nii.gz": "Mask (NIfTI)",
    "overlay.png": "Overlay (PNG)",
    "result.json": "Numbers (JSON)",
    "print.html": "Page for printing",
    "all.zip": "Everything (ZIP)",
}
"""Downloadable file -> its name on the page."""
SIDE = 640
"""Longer side of the picture in pixels."""


@dataclass
class Result:
    """The answers for one scan.

    Attributes:
        scan: as it was read; the image of every slice is needed again for the map of another class.
        folder: what `infer.py` would have written, plus the page for printing.
        answers: prediction by index of the slice, 0 for a picture.
        summary: `result.json`.
        maps: predictions with the map of another class, by index and class.
        cam_class: class whose map is shown, where another than the predicted one was chosen.
    """

    scan: Scan
    folder: Path
    answers: dict[int, Prediction]
    summary: dict[str, Any]
    maps: dict[tuple[int, str], Prediction] = field(default_factory=dict)
    cam_class: str | None = None

    @property
    def is_volume(self) -> bool:
        """Whether there are slices to go through."""
        return self.scan.volume is not None

    @property
    def n_slices(self) -> int:
        """How many slices, blank ones too."""
        return 1 if self.scan.volume is None else self.scan.volume.n_slices

    @property
    def voxels(self) -> int:
        """How much is held in memory."""
        return sum(item.image.size for item in self.scan.slices)

    @property
    def first(self) -> int:
        """Index of the slice that is shown first: the one with the largest mask, else the middle one."""
        areas = {index: answer.mask_area_px or 0 for index, answer in self.answers.items()}
        largest = max(areas, key=lambda index: areas[index])
        return largest if areas[largest] else sorted(areas)[len(areas) // 2]

    @property
    def marked(self) -> tuple[int, ...]:
        """Indices of the slices with a mask."""
        return tuple(index for index, answer in sorted(self.answers.items()) if answer.mask_area_px)

    def read(self) -> dict[str, Any]:
        """Return `result.json` as it stands now."""
        found: dict[str, Any] = json.loads((self.folder / RESULT).read_text(encoding="utf-8"))
        return found

    def shown(self, index: int, cam_class: str | None = None) -> Prediction | None:
        """Return the answer for a slice, with the map of another class where it was asked for; None for a blank slice."""
        return self.maps.get((index, cam_class)) if cam_class and (index, cam_class) in self.maps else self.answers.get(index)


def kept(prediction: Prediction) -> Prediction:
    """Return a prediction without what the page never shows. A volume's maps are only looked at: half of the digits will do."""
    cam = prediction.cam
    if cam is not None and prediction.slice.index is not None:
        cam = cam.astype(np.float16)
    return replace(prediction, mask_prob=None, features=None, cam=cam)


def offered(folder: Path) -> list[str]:
    """Return the names of the downloadable files; two are made on demand."""
    return [name for name in FILES if name in ("print.html", "all.zip") or (folder / name).is_file()]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: of the file.
        label: class, or None.
        probability: of that class, or None.
        area: of the mask in pixels, of a volume in voxels; or None.
        consistent: whether mask and class agree, or None.
        refer: whether an expert is asked for.
        note: warnings, or what went wrong.
        failed: whether there is no result.
    """

    name: str
    label: str | None = None
    probability: float | None = None
    area: int | None = None
    consistent: bool | None = None
    refer: bool = False
    note: str = ""
    failed: bool = False


@dataclass(frozen=True)
class Layers:
    """Pictures of one slice as data URLs.

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
    """Return a PNG file as a data URL."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
