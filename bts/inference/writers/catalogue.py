"""All result writers: importing this module registers them. A new one is imported here."""

from __future__ import annotations

from bts.inference.writers import dicom_objects, html_report, json_result, nifti, pictures
from bts.inference.writers.base import RESULT, ResultWriter, result_writers

__all__ = ["RESULT", "ResultWriter", "dicom_objects", "html_report", "json_result", "nifti", "pictures", "result_writers"]
