"""Which reader reads this file? One entry for every format; all give a `Scan`."""

from __future__ import annotations

from pathlib import Path

from bts.data.readers.mat import read_mat
from bts.data.readers.picture import read_picture
from bts.data.readers.scan import Scan, VolumeGeometry
from bts.data.slice import Slice
from bts.errors import InputError

__all__ = ["SUFFIXES", "Scan", "VolumeGeometry", "read_scan", "read_slice"]

SUFFIXES = (".mat", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".nii", ".nii.gz", ".dcm", ".dicom")
"""What is readable; a DICOM file may also have no suffix."""


def read_scan(path: str | Path, *, axis: int | None = None) -> Scan:
    """Return what a file of any supported format holds.

    Raises:
        InputError: one line with the path in front.
    """
    try:
        suffix = Path(path).suffix.lower()
        return Scan(path=str(path), slices=[read_mat(path) if suffix == ".mat" else read_picture(path)])
    except InputError as error:
        raise error.at(path) from error


def read_slice(path: str | Path) -> Slice:
    """Return the one slice of a file; raises `InputError` where it holds none or several."""
    return read_scan(path).slices[0]
