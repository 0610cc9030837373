"""Write small DICOM files in tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def write_dicom(
    path: Path,
    pixels: np.ndarray,
    *,
    kind: str = "MONOCHROME2",
    slope: float | None = None,
    intercept: float | None = None,
    spacing: tuple[float, float] | None = None,
    frames: int = 1,
    **more,
) -> Path:
    """One uncompressed MR slice (or frames, or RGB) with a patient whose name must go nowhere."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    data.SOPClassUID, data.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
    data.PatientName, data.PatientID, data.Modality = "Doe^Jane", "SECRET-1", "MR"
    data.Rows, data.Columns = pixels.shape[-2:] if kind != "RGB" else pixels.shape[:2]
    data.SamplesPerPixel = 3 if kind == "RGB" else 1
    if kind == "RGB":
        data.PlanarConfiguration = 0
    data.PhotometricInterpretation = kind
    data.BitsAllocated = data.BitsStored = pixels.dtype.itemsize * 8
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    if frames > 1:
        data.NumberOfFrames = frames
    for name, value in (("RescaleSlope", slope), ("RescaleIntercept", intercept), ("PixelSpacing", spacing)):
        if value is not None:
            setattr(data, name, list(value) if isinstance(value, tuple) else value)
    for name, value in more.items():
        setattr(data, name, value)
    data.PixelData = pixels.tobytes()
    data.save_as(path, enforce_file_format=True)
    return path
