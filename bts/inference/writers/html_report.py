"""Result of a volume as one page to read and print: decision, measurements, key slices, doubts, and what the model is."""

from __future__ import annotations

import base64
import functools
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from PIL import Image

from bts.atomic import write_text
from bts.data.readers.scan import PLANES, Scan, VolumeGeometry
from bts.data.slice import Slice
from bts.glossary import DISCLAIMER, NO_TUMOUR
from bts.inference.panel import percent
from bts.inference.picture import CONTOUR, contour_of, fitted, grey, heat_strip, heated, png_bytes
from bts.inference.prediction import Prediction
from bts.inference.volume import VolumeFindings
from bts.inference.writers.base import ResultWriter, result_writers
from bts.inference.writers.dicom_segmentation import read_header
from bts.markup import make_environment

SHOWN_LESIONS = 3
"""Lesions whose key slice is shown, the largest ones: more would not fit a page."""
SIDE = 360
"""Longer side of a picture in pixels."""
PATIENT = {"PatientName": "Patient", "PatientID": "ID", "PatientBirthDate": "born", "StudyDate": "study of"}
"""Attribute of the source -> its title on the page, where the patient is to be named."""
SIDES = {"sagittal": ("A", "P"), "coronal": ("R", "L"), "axial": ("R", "L")}
"""Plane -> side of the patient at the left and at the right edge of a slice."""


@result_writers.register("report")
class HtmlReport(ResultWriter):
    """`report.html` of a volume whose lesions were looked for; it holds no field of the patient unless they are asked for."""

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
        if prediction.cam_bytes is not None:
            self.cams[index] = (prediction.cam_name, prediction.cam_class or "", prediction.cam_bytes)

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
            patient=self._patient(),
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

    def _patient(self) -> list[tuple[str, str]]:
        """Return title and value of what the source says of its patient, where the page is to name them."""
        if not self.report_patient or self.scan.series is None:
            return []
        header = read_header(self.scan.series.files[0])
        values = [(title, str(header.get(name) or "")) for name, title in PATIENT.items()]
        return [(title, _readable(value)) for title, value in values if value.strip("^ ")]

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


def _readable(value: str) -> str:
    """Return a name or a date of DICOM as people write it.

    >>> _readable("Roe^Rita"), _readable("19700102")
    ('Roe, Rita', '1970-01-02')
    """
    if len(value) == 8 and value.isdigit():
        return f"{value[:4]}-{value[4:6]}-{value[6:]}"
    return value.replace("^", ", ", 1).replace("^", " ").strip(", ")


@functools.cache
def _environment() -> Any:
    made = make_environment("bts.inference")
    made.filters |= {"percent": percent, "words": lambda name: name.replace("_", " ")}
    return made


def _data_uri(picture: Image.Image) -> str:
    return f"data:image/png;base64,{base64.b64encode(png_bytes(np.asarray(picture))).decode()}"
