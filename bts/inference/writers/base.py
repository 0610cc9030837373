"""Contract and registry of result writers.

A new writer is one file with a subclass of `ResultWriter`, and one line in `catalogue.py`; the contract test in
`tests/inference/test_writers.py` then runs over it. A writer of another package is named by its import path.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from bts.data.readers.scan import Scan
from bts.inference.prediction import Prediction
from bts.inference.volume import VolumeFindings
from bts.registry import Registry

RESULT = "result.json"
"""File that is written last: a folder that holds it is a complete result."""
PICTURES = ("key", "all", "none")
"""Slices of a volume that are drawn: of each lesion the one with its largest area, all, or none. A lone picture is drawn
unless it is none."""


class ResultWriter(ABC):
    """One kind of file in the result of a scan, a picture or a volume.

    Predictions come one by one and are not kept, so that a volume of any length fits in memory. Files are written atomically
    (`bts.atomic`); an `OSError` is left to the caller, who names the folder.

    Attributes:
        files: patterns of the files that it writes, relative to the folder of a result.
        scan: the scan as it was read; `scan.volume` is None for a picture.
        folder: of the result; it exists.
        findings: of a volume, set before `finish`; None for a picture, and without a segmenter.
        pictures: what is drawn, one of `PICTURES`.
        report_patient: whether `report.html` names the patient of a DICOM series.
    """

    files: ClassVar[tuple[str, ...]]
    findings: VolumeFindings | None = None
    pictures: str = "key"
    report_patient: bool = False

    def __init__(self, scan: Scan, folder: Path) -> None:
        self.scan, self.folder = scan, folder

    @abstractmethod
    def add(self, prediction: Prediction) -> None:
        """Take the prediction of the next slice."""

    def finish(self) -> None:  # noqa: B027, most writers are done after the last slice
        """Write what needs all slices; called once, after the last one."""


result_writers: Registry[type[ResultWriter]] = Registry("result writer", base=ResultWriter)
