"""Pictures of a result: mask and class map of a lone slice in its own size, and the overlay page of every slice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from bts.atomic import write_bytes
from bts.data.readers.scan import Scan
from bts.inference.drawing import overlay
from bts.inference.picture import png_bytes
from bts.inference.prediction import Prediction
from bts.inference.volume import apply_findings
from bts.inference.writers.base import ResultWriter, result_writers


@result_writers.register("mask")
class MaskPicture(ResultWriter):
    """`mask.png` of a picture, 0 and 255."""

    files = ("mask.png",)

    def add(self, prediction: Prediction) -> None:
        """Write the mask, where a model gives one."""
        if self.scan.volume is None and prediction.mask is not None:
            _write(prediction.mask.view(np.uint8) * np.uint8(255), self.folder / "mask.png")


@result_writers.register("cam")
class CamPicture(ResultWriter):
    """`cam.png` of a picture, 255 where the class map is 1."""

    files = ("cam.png",)

    def add(self, prediction: Prediction) -> None:
        """Write the class map, where a model gives one."""
        if self.scan.volume is None and prediction.cam_bytes is not None:
            _write(prediction.cam_bytes, self.folder / "cam.png")


@result_writers.register("overlay")
class OverlayPicture(ResultWriter):
    """`overlay.png` of a picture; `slices/<index>.png` of a volume, with the lesions of its findings: the page of one slice."""

    files = ("overlay.png", "slices/*.png")

    def __init__(self, scan: Scan, folder: Path) -> None:
        super().__init__(scan, folder)
        self.kept: dict[int, tuple[Prediction, np.ndarray | None]] = {}

    def add(self, prediction: Prediction) -> None:
        """Draw the page of a picture; of a volume's slice keep what its page shows, one byte a pixel."""
        if self.pictures == "none":
            return
        if self.scan.volume is None:
            _write(np.asarray(overlay(prediction)), self.folder / "overlay.png")
        else:
            light = replace(prediction, cam=None, mask=None, mask_prob=None, unfused=None, features=None)
            self.kept[int(prediction.slice.index or 0)] = light, prediction.cam_bytes

    def finish(self) -> None:
        """Draw the pages of a volume: all, or of each lesion the slice with its largest area."""
        if self.scan.volume is None:
            return
        findings, digits = self.findings, len(str(self.scan.volume.n_slices - 1))
        chosen = sorted(self.kept)
        if self.pictures == "key" and findings is not None:
            chosen = sorted({lesion.largest_slice for lesion in findings.lesions})
        for index in chosen:
            prediction, cam = self.kept[index]
            if cam is not None:
                prediction = replace(prediction, cam=cam.astype(np.float32) / 255)
            if findings is not None:
                prediction = apply_findings(prediction, findings)
            path = self.folder / "slices" / f"{index:0{digits}d}.png"
            path.parent.mkdir(exist_ok=True)
            _write(np.asarray(overlay(prediction)), path)


def _write(picture: np.ndarray, path: Path) -> None:
    write_bytes(path, png_bytes(picture))
