"""Result of a volume as one page to read and print: decision, measurements, key slices, doubts, and what the model is."""

from __future__ import annotations

import base64
import functools
import io
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from PIL import Image

from bts.atomic import write_text
from bts.data.readers.scan import PLANES, Scan, VolumeGeometry
from bts.data.slice import Slice
from bts.glossary import DISCLAIMER, NO_TUMOUR
from bts.inference.panel import percent
from bts.inference.picture import CONTOUR, as_bytes, contour_of, fitted, grey, heat_strip, heated
from bts.inference.prediction import Prediction
from bts.inference.volume import VolumeFindings
from bts.inference.writers.base import ResultWriter, result_writers
from bts.markup import make_environment

SHOWN_LESIONS = 3
"""Lesions whose key slice is shown, the largest ones: more would not fit a page."""
SIDE = 360
"""Longer side of a picture in pixels."""
SIDES = {"sagittal": ("A", "P"), "coronal": ("R", "L"), "axial": ("R", "L")}
"""Plane -> side of the patient at the left and at the right edge of a slice."""


@result_writers.register("report")
class HtmlReport(ResultWriter):
    """`report.html` of a volume whose lesions were looked for; it holds no field of the patient."""

    files = ("report.html",)

    def __init__(self, scan: Scan, folder: Path) -> None:
        super().__init__(scan, folder)
        self.last: Prediction | None = None
        self.cams: dict[int, tuple[str, str, np.ndarray]] = {}
        self.warnings: dict[int, tuple[str, ...]] = {}

    def add(self, prediction: Prediction) -> None:
        """Keep what the page may show of a slice, one byte a pixel."""
        if self.scan.volume is None:
            return
        index, self.last = int(prediction.slice.index or 0), prediction
        self.warnings[index] = prediction.warnings
        if prediction.cam is not None:
            self.cams[index] = (prediction.cam_name, prediction.cam_class or "", as_bytes(prediction.cam))

    def finish(self) -> None:
        """Write the page."""
        geometry, findings = self.scan.volume, self.findings
        if geometry is None or findings is None or self.last is None:
            return
        page = _environment().get_template("report.html").render(
            name=PurePath(self.scan.path).name,
            plane=PLANES[geometry.axis] if geometry.oriented else None,
            geometry=geometry,
            spacing_mm=self.scan.slices[0].spacing_mm,
            blank=len(self.scan.blank),
            findings=findings,
            figures=self._figures(geometry, findings),
            shown_lesions=SHOWN_LESIONS,
            prediction=self.last,
            heat=_data_uri(heat_strip((160, 10))),
            contour=CONTOUR,
            no_tumour=NO_TUMOUR,
            disclaimer=DISCLAIMER,
        )  # fmt: skip
        write_text(self.folder / "report.html", page)

    def _figures(self, geometry: VolumeGeometry, findings: VolumeFindings) -> list[dict[str, Any]]:
        """Return the pictures of the key slice of each lesion that is shown; of the middle slice where there is none."""
        slices = {int(item.index or 0): item for item in self.scan.slices}
        wanted = [(f"Lesion {each.number}", each.largest_slice) for each in findings.lesions[:SHOWN_LESIONS]]
        wanted = wanted or [("Middle slice", sorted(slices)[len(slices) // 2])]
        sides = SIDES[PLANES[geometry.axis]] if geometry.oriented else None
        return [
            {
                "title": title,
                "index": index,
                "sides": sides,
                "warnings": self.warnings[index],
                **self._pictures(slices[index], findings.lesion_labels[index] > 0),
            }
            for title, index in wanted
            if index in slices
        ]

    def _pictures(self, item: Slice, mask: np.ndarray) -> dict[str, Any]:
        """Return the slice with its contour, and its class map with the contour, where there is one."""
        rows_mm, columns_mm = item.spacing_mm or (1.0, 1.0)
        height, width = item.image.shape
        scan = grey(item.image, fitted((round(height * rows_mm * 100), round(width * columns_mm * 100)), side=SIDE))
        contour, (name, label, cam) = contour_of(mask, scan.size), self.cams.get(int(item.index or 0), ("", "", None))
        pictures = [scan.convert("RGB")]
        if cam is not None:
            pictures.append(heated(scan, cam.astype(np.float32) / 255))
        for picture in pictures:
            if contour is not None:
                contour.draw(picture)
        return {"pictures": [_data_uri(picture) for picture in pictures], "cam_name": name, "cam_class": label}


@functools.cache
def _environment() -> Any:
    made = make_environment("bts.inference")
    made.filters |= {"percent": percent, "words": lambda name: name.replace("_", " ")}
    return made


def _data_uri(picture: Image.Image) -> str:
    data = io.BytesIO()
    picture.save(data, "PNG")
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"
