"""DICOM headers without pixels and private elements, to hand on to who writes objects that refer to their files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from bts.data.readers.dicom import read_data, readable_errors

MOST_ELEMENT_BYTES = 2**16
"""Largest element that is kept, sequences apart: lookup tables and thumbnails are larger, and nobody needs them here."""
PIXEL_GROUP, OVERLAY_GROUP = 0x7FE0, 0x6000


def header_bytes(path: str | Path) -> bytes:
    """Return a DICOM file, explicit little endian, with the header of a file: public elements that are no pictures.

    Raises:
        InputError: as `read_frames`, or a value that can't be written.
    """
    with readable_errors():
        data = read_data(path, pixels=False)
        data.remove_private_tags()
        for element in [element for element in data if _is_left_out(element)]:
            del data[element.tag]
        return _written(data)


def _is_left_out(element: Any) -> bool:
    if element.tag.group >= PIXEL_GROUP or element.tag.group & 0xFF00 == OVERLAY_GROUP:
        return True
    return element.VR != "SQ" and hasattr(element.value, "__len__") and len(element.value) > MOST_ELEMENT_BYTES


def _written(data: Any) -> bytes:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
