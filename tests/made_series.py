"""Small synthetic DICOM series, and findings in them, made without the readers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bts.data.readers.scan import Scan, Series, VolumeGeometry
from bts.data.slice import Slice
from bts.inference.prediction import ModelMark, Prediction
from bts.inference.volume import Lesion, VolumeFindings

ROWS, COLUMNS, SLICES = 24, 20, 6
SPACING_MM, STEP_MM = (0.9, 1.1), 4.0
PATIENT = {"PatientName": "Roehampton^Rita", "PatientID": "SECRET-7", "PatientBirthDate": "19700102", "PatientSex": "F"}
TILT = np.deg2rad(20)
ROW, COLUMN = np.array([1.0, 0, 0]), np.array([0, np.cos(TILT), np.sin(TILT)])
NORMAL = np.cross(ROW, COLUMN)
MARK = ModelMark("a model", "0123456789abcdef", "phantoms")


def pixels(seed: int = 0) -> np.ndarray:
    """Return (slices, rows, columns) uint16, dark with a bright block off the centre."""
    found = np.random.default_rng(seed).integers(1, 50, (SLICES, ROWS, COLUMNS)).astype(np.uint16)
    found[1:4, 5:12, 12:17] = 900
    return found


def position(slice_: int) -> np.ndarray:
    """Return ImagePositionPatient of a slice of the oblique series."""
    return np.array([-10.0, -12.0, 30.0]) + slice_ * STEP_MM * NORMAL


def write_series(folder: Path, *, enhanced: bool = False, **more: Any) -> Path:
    """Write an oblique axial series, from inferior to superior, with names in another order."""
    from pydicom.uid import generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    shared = {
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "FrameOfReferenceUID": generate_uid(),
        "SeriesNumber": 3,
        **PATIENT,
        **more,
    }
    if enhanced:
        _save_enhanced(folder / "all.dcm", shared)
        return folder
    for number, plane in enumerate(pixels()):
        data = _file(shared, "1.2.840.10008.5.1.4.1.1.4")
        data.InstanceNumber = number + 1
        data.ScanningSequence, data.SequenceVariant, data.ScanOptions = "SE", "NONE", ""
        data.MRAcquisitionType, data.EchoTime, data.RepetitionTime, data.EchoTrainLength = "2D", 10, 500, 1
        data.ImageType = ["ORIGINAL", "PRIMARY", "M"]
        data.ImagePositionPatient = [round(float(value), 6) for value in position(number)]
        data.ImageOrientationPatient = [round(float(value), 6) for value in (*ROW, *COLUMN)]
        data.PixelSpacing, data.SliceThickness = list(SPACING_MM), 3.5
        data.PixelData = plane.tobytes()
        data.save_as(folder / f"{SLICES - number}.dcm", enforce_file_format=True)
    return folder


def scan_of(folder: Path) -> Scan:
    """Return the scan of a series that `write_series` wrote: its geometry is known, not read."""
    from pydicom import dcmread

    headers = {path: dcmread(path) for path in sorted(folder.glob("*.dcm"), reverse=True)}
    (first, *_), enhanced = headers.values(), len(headers) == 1
    lps = np.eye(4)
    lps[:3, 0], lps[:3, 1], lps[:3, 2] = ROW * SPACING_MM[1], COLUMN * SPACING_MM[0], NORMAL * STEP_MM
    lps[:3, 3] = position(0)
    files = [str(path) for path in headers]
    series = Series(
        study_uid=first.StudyInstanceUID,
        series_uid=first.SeriesInstanceUID,
        frame_of_reference_uid=first.FrameOfReferenceUID,
        modality="MR",
        description="",
        files=tuple(files * SLICES if enhanced else files),
        instance_uids=tuple(header.SOPInstanceUID for header in headers.values()) * (SLICES if enhanced else 1),
        frame_numbers=tuple(range(SLICES, 0, -1)) if enhanced else (),
    )
    geometry = VolumeGeometry(
        affine=np.diag([-1.0, -1, 1, 1]) @ lps,
        shape=(COLUMNS, ROWS, SLICES),
        axis=2,
        orientation=np.array([[0, 1], [1, 1], [2, 1]]),
        codes=(1, 1),
    )
    slices = [
        Slice(image=plane, source="file", path=str(folder), spacing_mm=SPACING_MM, index=index)
        for index, plane in enumerate(pixels())
    ]
    return Scan(path=str(folder), slices=slices, volume=geometry, series=series)


def findings(*, tumour: bool = True) -> VolumeFindings:
    """Return two lesions, the bright block and a smaller one, or none."""
    labels = np.zeros((SLICES, ROWS, COLUMNS), np.uint8)
    if tumour:
        labels[1:4, 5:12, 12:17] = 1
        labels[4, 15:17, 3:6] = 2
    classes = {"meningioma": 0.1, "glioma": 0.8, "pituitary": 0.1}
    lesions = (
        _lesion(1, voxels=105, slices=(1, 3), side="left", class_prob=classes),
        _lesion(2, voxels=6, slices=(4, 4), side="crosses the midline", class_prob=classes),
    )
    return VolumeFindings(
        lesion_labels=labels,
        lesions=lesions if tumour else (),
        tumour_score=0.93 if tumour else 0.07,
        threshold=0.4,
        class_prob=classes if tumour else {},
        label="glioma" if tumour else None,
        warnings=("the spacing of the slices stands only in their positions",),
    )


def predictions(scan: Scan) -> list[Prediction]:
    """Return a prediction for each slice of the series, with the mask of `findings`."""
    masks = findings().lesion_labels > 0
    return [
        Prediction(
            slice=item,
            mask=mask,
            mask_prob=np.where(mask, np.float32(0.9), np.float32(0.1)),
            mask_confidence=0.9 if mask.any() else None,
            cam=mask.astype(np.float32),
            cam_class="glioma",
            classes=("meningioma", "glioma", "pituitary"),
            class_prob=np.array([0.1, 0.8, 0.1]),
            models=(MARK,),
            runtime="torch on cpu",
            versions={"bts": "1"},
        )
        for item, mask in zip(scan.slices, masks, strict=True)
    ]


def _lesion(number: int, *, voxels: int, slices: tuple[int, int], side: str, class_prob: dict[str, float]) -> Lesion:
    return Lesion(
        number=number,
        voxels=voxels,
        volume_ml=voxels * SPACING_MM[0] * SPACING_MM[1] * STEP_MM / 1000,
        slices=slices,
        largest_slice=slices[0],
        longest_mm=8.25,
        perpendicular_mm=5.5,
        extent_mm=12.0,
        side=side,
        centroid_mm=(-3.0, 5.0, 38.0),
        certainty=0.9,
        class_prob=class_prob,
    )


def _file(shared: dict[str, Any], kind: str) -> Any:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, kind
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    data.SOPClassUID, data.SOPInstanceUID, data.Modality = kind, meta.MediaStorageSOPInstanceUID, "MR"
    data.StudyDate, data.StudyTime, data.StudyID, data.AccessionNumber = "20200101", "120000", "1", ""
    data.ReferringPhysicianName, data.Manufacturer, data.PositionReferenceIndicator = "", "none", ""
    data.Rows, data.Columns, data.SamplesPerPixel, data.PhotometricInterpretation = ROWS, COLUMNS, 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    for name, value in shared.items():
        setattr(data, name, value)
    return data


def _save_enhanced(path: Path, shared: dict[str, Any]) -> None:
    """Write one enhanced file whose frames run from superior to inferior, with the orientation in every frame."""
    from pydicom.dataset import Dataset

    data = _file(shared, "1.2.840.10008.5.1.4.1.1.4.1")
    data.ImageType, data.NumberOfFrames, data.InstanceNumber = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], SLICES, 1
    measures, orientation = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness, measures.SpacingBetweenSlices = list(SPACING_MM), 3.5, STEP_MM
    orientation.ImageOrientationPatient = [round(float(value), 6) for value in (*ROW, *COLUMN)]
    frames = []
    for number in reversed(range(SLICES)):
        plane, frame = Dataset(), Dataset()
        plane.ImagePositionPatient = [round(float(value), 6) for value in position(number)]
        frame.PlanePositionSequence, frame.PlaneOrientationSequence, frame.PixelMeasuresSequence = (
            [plane],
            [orientation],
            [measures],
        )
        frames.append(frame)
    data.SharedFunctionalGroupsSequence, data.PerFrameFunctionalGroupsSequence = [Dataset()], frames
    data.PixelData = pixels()[::-1].tobytes()
    data.save_as(path, enforce_file_format=True)
