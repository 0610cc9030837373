"""Pictures of a result: mask and class map of a lone slice in its own size, and the overlay page of every slice."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bts.atomic import write_bytes
from bts.inference.drawing import overlay
from bts.inference.picture import as_bytes, png_bytes
from bts.inference.prediction import Prediction
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
        if self.scan.volume is None and prediction.cam is not None:
            _write(as_bytes(prediction.cam), self.folder / "cam.png")


@result_writers.register("overlay")
class OverlayPicture(ResultWriter):
    """`overlay.png` of a picture, `slices/<index>.png` of a volume: the page of one prediction."""

    files = ("overlay.png", "slices/*.png")

    def add(self, prediction: Prediction) -> None:
        """Draw the page."""
        path = self.folder / "overlay.png"
        if self.scan.volume is not None:
            digits = len(str(self.scan.volume.n_slices - 1))
            path = self.folder / "slices" / f"{prediction.slice.index or 0:0{digits}d}.png"
            path.parent.mkdir(exist_ok=True)
        _write(np.asarray(overlay(prediction)), path)


def _write(picture: np.ndarray, path: Path) -> None:
    write_bytes(path, png_bytes(picture))
