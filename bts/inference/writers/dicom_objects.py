"""Results of a DICOM series as DICOM objects that a viewer or a PACS takes."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path

from bts.atomic import replacing
from bts.data.readers.scan import Scan
from bts.inference.prediction import ModelMark, Prediction
from bts.inference.writers.base import ResultWriter, result_writers
from bts.inference.writers.dicom_segmentation import segmentation, source_headers

LOG = logging.getLogger(__name__)
NO_HIGHDICOM = "seg.dcm is not written: install highdicom (pip install 'bts[dicom]')"


@result_writers.register("dicom")
class DicomObjects(ResultWriter):
    """`seg.dcm` of a DICOM series in which a lesion is found.

    It holds the patient and study of the source, as viewers match them; they are read from its files and go nowhere else.
    """

    files = ("seg.dcm",)

    def __init__(self, scan: Scan, folder: Path) -> None:
        super().__init__(scan, folder)
        self.models: tuple[ModelMark, ...] = ()

    def add(self, prediction: Prediction) -> None:
        """Note the models."""
        self.models = prediction.models

    def finish(self) -> None:
        """Write the object; a note is logged where it can't be."""
        series, geometry, findings = self.scan.series, self.scan.volume, self.findings
        if series is None or geometry is None or findings is None or not findings.tumour:
            return
        if find_spec("highdicom") is None:
            LOG.info("%s: %s", self.scan.path, NO_HIGHDICOM)
            return
        headers = source_headers(series, geometry)
        found = segmentation(findings, geometry=geometry, series=series, headers=headers, models=self.models)
        with replacing(self.folder / "seg.dcm") as part:
            found.save_as(part)
