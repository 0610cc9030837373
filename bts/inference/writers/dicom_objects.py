"""Results of a DICOM series as DICOM objects that a viewer or a PACS takes."""

from __future__ import annotations

import logging
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bts.atomic import replacing
from bts.data.readers.scan import Scan, Series, VolumeGeometry
from bts.inference.prediction import ModelMark, Prediction
from bts.inference.volume import VolumeFindings
from bts.inference.writers.base import ResultWriter, result_writers
from bts.inference.writers.dicom_report import measurement_report
from bts.inference.writers.dicom_segmentation import segmentation, source_headers

LOG = logging.getLogger(__name__)
OWN_FRAME = "seg.dcm has a frame of reference of its own, as the series states none: viewers match it by the source images"
NO_HIGHDICOM = "seg.dcm and report.dcm are not written: install highdicom (pip install 'bts[dicom]')"


@result_writers.register("dicom")
class DicomObjects(ResultWriter):
    """`report.dcm` of a DICOM series, and `seg.dcm` where a lesion is found.

    They hold the patient and study of the source, as viewers match them; they are read from its files and go nowhere else.
    """

    files = ("seg.dcm", "report.dcm")

    def __init__(self, scan: Scan, folder: Path) -> None:
        super().__init__(scan, folder)
        self.models: tuple[ModelMark, ...] = ()

    def add(self, prediction: Prediction) -> None:
        """Note the models."""
        self.models = prediction.models

    def finish(self) -> None:
        """Write the objects; a note is logged where they can't be."""
        series, geometry, findings = self.scan.series, self.scan.volume, self.findings
        if series is None or geometry is None or findings is None:
            return
        if find_spec("highdicom") is None:
            LOG.info("%s: %s", self.scan.path, NO_HIGHDICOM)
            return
        if findings.tumour and not series.frame_of_reference_uid:
            LOG.info("%s: %s", self.scan.path, OWN_FRAME)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # highdicom repeats an unusual name of the patient
                self._write(series, geometry, findings)
        except (ValueError, TypeError, AttributeError) as error:  # a header that highdicom refuses must not cost the result
            LOG.info(
                "%s: seg.dcm and report.dcm are not written: the header of its source is invalid (%s)", self.scan.path, error
            )

    def _write(self, series: Series, geometry: VolumeGeometry, findings: VolumeFindings) -> None:
        headers, found = source_headers(series, geometry), None
        if findings.tumour:
            found = segmentation(findings, geometry=geometry, series=series, headers=headers, models=self.models)
        report = measurement_report(findings, headers=headers, segmentation=found, models=self.models)
        if found is not None:
            self._save(found, "seg.dcm")
        self._save(report, "report.dcm")

    def _save(self, found: Any, name: str) -> None:
        with replacing(self.folder / name) as part:
            found.save_as(part)
