"""Result of a scan on the page: predictions, image layers and files.

At the heat strength `STRENGTH`, the initial value of the slider, the layers compose to the picture in `overlay.png`.
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
from bts.inference.volume import VolumeFindings
from bts.inference.write import RESULT

BATCH_ZIP, PRINT, REPORT, ALL, VIEW = "results.zip", "print.html", "report.html", "all.zip", "view.nii.gz"
FILES = {
    "mask.png": "Mask (PNG)",
    "mask.nii.gz": "Mask (NIfTI)",
    "seg.dcm": "Segmentation (DICOM SEG)",
    "report.dcm": "Measurements (DICOM SR)",
    "overlay.png": "Overlay (PNG)",
    "result.json": "Numbers (JSON)",
    REPORT: "Report for printing",
    PRINT: "Page for printing",
    ALL: "Everything (ZIP)",
}
"""Downloadable files and their labels on the page."""
SIDE = 640
"""Longer side of the picture in pixels."""


@dataclass
class Result:
    """Predictions of one scan.

    Attributes:
        scan: the scan; the class activation map of another class needs its images again.
        folder: result folder as written by `infer.py`, plus the print page.
        predictions: prediction by slice index, 0 for a picture.
        summary: content of `result.json`.
        findings: of a volume with masks; None for others.
        maps: predictions with the class activation map of another class, by slice index and class.
        cam_class: class of the displayed map, if not the predicted one.
    """

    scan: Scan
    folder: Path
    predictions: dict[int, Prediction]
    summary: dict[str, Any]
    findings: VolumeFindings | None = None
    maps: dict[tuple[int, str], Prediction] = field(default_factory=dict)
    cam_class: str | None = None

    @property
    def is_volume(self) -> bool:
        """Whether the scan is a volume."""
        return self.scan.volume is not None

    @property
    def n_slices(self) -> int:
        """Number of slices, including blank ones."""
        return 1 if self.scan.volume is None else self.scan.volume.n_slices

    @property
    def voxels(self) -> int:
        """Number of voxels in memory."""
        return sum(item.image.size for item in self.scan.slices)

    @property
    def first_index(self) -> int:
        """Index of the initial slice: that of the largest lesion or mask, else the middle one."""
        if self.findings is not None and self.findings.lesions:
            return self.findings.lesions[0].largest_slice
        areas = {index: prediction.mask_area_px or 0 for index, prediction in self.predictions.items()}
        largest = max(areas, key=lambda index: areas[index])
        return largest if areas[largest] else sorted(areas)[len(areas) // 2]

    @property
    def slices_with_mask(self) -> tuple[int, ...]:
        """Indices of the slices with a mask."""
        return tuple(index for index, prediction in sorted(self.predictions.items()) if prediction.mask_area_px)

    def read(self) -> dict[str, Any]:
        """Return the current content of `result.json`."""
        found: dict[str, Any] = json.loads((self.folder / RESULT).read_text(encoding="utf-8"))
        return found

    def prediction(self, index: int, cam_class: str | None = None) -> Prediction | None:
        """Return the prediction of a slice, with the cached map of a class if given; None for a blank slice."""
        return (
            self.maps.get((index, cam_class)) if cam_class and (index, cam_class) in self.maps else self.predictions.get(index)
        )


def compact(prediction: Prediction) -> Prediction:
    """Return a prediction without the arrays that the page does not show, and with maps of a volume in half precision."""
    cam = prediction.cam
    if cam is not None and prediction.slice.index is not None:
        cam = cam.astype(np.float16)
    return replace(prediction, mask_prob=None, features=None, cam=cam)


def available_files(folder: Path) -> list[str]:
    """Return the names of the downloadable files, including those that are created on demand: a report replaces the print."""
    made = {PRINT, ALL} if not (folder / REPORT).is_file() else {ALL}
    return [name for name in FILES if name in made or (name != PRINT and (folder / name).is_file())]


@dataclass(frozen=True)
class Row:
    """Table row of one file of a batch.

    Attributes:
        name: file name.
        label: predicted class, or None.
        probability: probability of the predicted class, or None.
        area: mask area in pixels, for a volume in voxels; or None.
        consistent: whether mask and class agree, or None.
        refer: whether the scan is referred to an expert.
        note: warnings, or the error.
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
    """Image layers of one slice as data URLs.

    Attributes:
        size: (width, height) of each layer.
        scan: grey scan.
        heat: class activation map with alpha channel, or None without a map.
        contour: contour of the mask with alpha channel, or None without a mask.
    """

    size: tuple[int, int]
    scan: str
    heat: str | None
    contour: str | None


def make_layers(prediction: Prediction) -> Layers:
    """Return the layers of a slice, drawn as in `overlay.png`."""
    scan = grey(prediction.slice.image, fitted(prediction.slice.image.shape, side=SIDE))
    contour = None if prediction.mask is None else contour_of(prediction.mask, scan.size)
    return Layers(
        size=scan.size,
        scan=data_url(png_bytes(np.asarray(scan))),
        heat=None if prediction.cam is None else data_url(_png(heat_layer(prediction.cam, scan.size))),
        contour=None if contour is None else data_url(_png(contour.layer(scan.size))),
    )


def data_url(png: bytes) -> str:
    """Return a PNG file as a data URL."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
