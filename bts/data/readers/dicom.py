"""How does a DICOM file become a slice? Only pixels and their spacing are taken; no patient field is ever kept."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from bts.data.readers.picture import to_grey
from bts.data.slice import MAX_SIDE, Slice
from bts.errors import InputError

MAGIC = b"DICM"


def is_dicom(path: str | Path) -> bool:
    """Tell by the four letters behind the preamble, whatever the name."""
    with open(path, "rb") as file:
        return file.read(132)[128:] == MAGIC


def read_dicom(path: str | Path) -> Slice:
    """Return the slice of a DICOM file: stored values times RescaleSlope plus RescaleIntercept, bright where tissue is bright.

    MONOCHROME1, where low values are bright, is mirrored within its own range. `spacing_mm` is PixelSpacing.

    Raises:
        InputError: pydicom is missing, no DICOM, no picture in it, several frames, colour, or a compression that
            can't be decoded here.
    """
    try:
        import pydicom
    except ImportError as error:
        raise InputError("reading DICOM needs pydicom: pip install 'bts[dicom]'") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of every odd field of the header, none of which is used here
        try:
            data = pydicom.dcmread(path)
            _check_header(data)
            image, spacing_mm = _pixels(data), _spacing_mm(data)
        except InputError:
            raise
        except pydicom.errors.InvalidDicomError as error:
            raise InputError("no DICOM file (the letters DICM are missing): export it again") from error
        except Exception as error:  # damaged elements and missing decoders surface as almost anything
            reason = " ".join(str(error).split())[:120]
            raise InputError(f"DICOM that can't be decoded here ({reason}): export it uncompressed, or as PNG") from error
    return Slice(image=image, source="file", path=str(path), spacing_mm=spacing_mm)


def _check_header(data: Any) -> None:
    rows, columns = int(data.get("Rows") or 0), int(data.get("Columns") or 0)
    if "PixelData" not in data or min(rows, columns) < 1:
        raise InputError("a DICOM file without a picture: name a file of the image series")
    if max(rows, columns) > MAX_SIDE:
        raise InputError(
            f"a picture of {rows} rows and {columns} columns: at most {MAX_SIDE} a side are accepted, scale it down"
        )
    frames = int(data.get("NumberOfFrames") or 1)
    if frames > 1:
        raise InputError(
            f"{frames} frames in one file: expected one slice, convert the volume to NIfTI (for instance by dcm2niix)"
        )


def _pixels(data: Any) -> np.ndarray:
    stored = data.pixel_array
    kind = str(data.get("PhotometricInterpretation", "MONOCHROME2"))
    if kind == "RGB" and stored.ndim == 3 and stored.dtype == np.uint8:
        stored = to_grey(stored)
    elif kind not in ("MONOCHROME1", "MONOCHROME2"):
        raise InputError(f"photometric interpretation {kind}: expected MONOCHROME1 or MONOCHROME2, export the scan as grey")
    slope, intercept = (float(data.get(name, default)) for name, default in (("RescaleSlope", 1), ("RescaleIntercept", 0)))
    image = stored.astype(np.float64) * slope + intercept
    return image.max() + image.min() - image if kind == "MONOCHROME1" else image


def _spacing_mm(data: Any) -> tuple[float, float] | None:
    """Return PixelSpacing, which is (between rows, between columns), or None where it is absent or senseless."""
    spacing = [float(part) for part in data.get("PixelSpacing") or ()]
    usable = len(spacing) == 2 and all(np.isfinite(part) and part > 0 for part in spacing)
    return (spacing[0], spacing[1]) if usable else None
