"""Lesions of a DICOM series as a DICOM Segmentation.

BINARY with one segment per lesion: viewers list, hide and measure each lesion by its segment, the report refers to it, and
binary objects are read by more viewers than label maps (DICOM Supplement 243).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

import bts
from bts.data.readers.dicom import read_data
from bts.data.readers.scan import Series, VolumeGeometry
from bts.errors import InputError
from bts.glossary import DISCLAIMER
from bts.inference.prediction import ModelMark
from bts.inference.volume import VolumeFindings

TYPE_2 = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate", "StudyTime",
          "ReferringPhysicianName")  # fmt: skip
"""Attributes that every image has but that may be empty; anonymised series often lack them."""
SERIES_OFFSET = {"SEG": 1000, "SR": 2000}
"""Added to the source's SeriesNumber, so that results are listed behind it."""
LONGEST = 64
"""Characters of a DICOM long string (LO)."""


def source_headers(series: Series, geometry: VolumeGeometry) -> list[Any]:
    """Return the header of each source file, once and in order, without pixels.

    Required attributes that are missing are added: the thickness of a slice as the distance of slices, a frame of reference
    that is the same for each result of a series, others empty. Where a classic series repeats its orientation with different
    rounding, or an enhanced one in every frame, the first is taken for all, as highdicom compares and expects. An age that is
    not written as DICOM asks (`042Y`) is left out.

    Raises:
        InputError: a file can't be read any more.
    """
    from pydicom.uid import generate_uid

    own_frame = generate_uid(entropy_srcs=["bts frame of reference", series.series_uid])
    found = [read_header(path) for path in dict.fromkeys(series.files)]
    for header in found:
        for name in TYPE_2:
            if name not in header:
                setattr(header, name, "")
        if not re.fullmatch(r"\d{3}[DWMY]", str(header.get("PatientAge", "000D"))):
            del header.PatientAge
        header.FrameOfReferenceUID = header.get("FrameOfReferenceUID") or own_frame
        if "SharedFunctionalGroupsSequence" in header:
            shared, first = header.SharedFunctionalGroupsSequence[0], header.PerFrameFunctionalGroupsSequence[0]
            for name in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
                if name not in shared and name in first:
                    setattr(shared, name, first[name].value)
        else:
            if not header.get("SliceThickness"):
                header.SliceThickness = f"{np.linalg.norm(geometry.affine[:3, 2]):.6g}"
            header.ImageOrientationPatient = found[0].ImageOrientationPatient
    return found


def read_header(path: str) -> Any:
    """Return the header of a source file, without pixels; raises `InputError` where it can't be read any more."""
    try:
        return read_data(path, pixels=False)
    except OSError as error:
        raise InputError(f"{path}: can't be read again ({error.strerror or error}): keep the files until the end") from error


def segmentation(
    findings: VolumeFindings,
    *,
    geometry: VolumeGeometry,
    series: Series,
    headers: Sequence[Any],
    models: Sequence[ModelMark],
) -> Any:
    """Return a `highdicom.seg.Segmentation` with a segment for each lesion, in the frame of its source images.

    All segments are of the type Neoplasm: the class is a probability, which the report holds.

    Args:
        findings: with at least one lesion.
        geometry: of the series.
        series: identity of the source.
        headers: of the source, from `source_headers`.
        models: that found the lesions.
    """
    import highdicom
    from pydicom.sr.codedict import codes
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    algorithm = highdicom.AlgorithmIdentificationSequence(**algorithm_fields(models))
    segments = [
        highdicom.seg.SegmentDescription(
            segment_number=lesion.number,
            segment_label=f"Lesion {lesion.number}",
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Neoplasm,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            anatomic_regions=[codes.SCT.Brain],
            tracking_id=f"lesion {lesion.number}",
            tracking_uid=generate_uid(),
        )
        for lesion in findings.lesions
    ]
    return highdicom.seg.Segmentation(
        source_images=headers,
        pixel_array=frames_of(findings.lesion_labels, geometry=geometry, series=series, headers=headers),
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        content_label="LESIONS",
        content_description=f"Lesions. {DISCLAIMER}",
        **object_fields("SEG", headers[0], models),
    )


def frames_of(labels: np.ndarray, *, geometry: VolumeGeometry, series: Series, headers: Sequence[Any]) -> np.ndarray:
    """Return the labels of a volume's slices as frames (n, rows, columns) in the order of the source's frames.

    Frames of an enhanced file that are not in the series stay 0.
    """
    stored = geometry.restore(dict(enumerate(labels)))  # (columns, rows, slices)
    frames = np.ascontiguousarray(stored.transpose(2, 1, 0))
    if not series.frame_numbers:
        return frames
    whole = np.zeros((int(headers[0].NumberOfFrames), *frames.shape[1:]), np.uint8)
    whole[np.asarray(series.frame_numbers) - 1] = frames
    return whole


def algorithm_fields(models: Sequence[ModelMark]) -> dict[str, Any]:
    """Return what identifies the algorithm: this package, its version, and name and fingerprint of each model."""
    from pydicom.sr.codedict import codes

    return {
        "name": "bts",
        "family": codes.DCM.ArtificialIntelligence,
        "version": bts.__version__,
        "source": "bts",
        "parameters": {f"model {number}": f"{mark.name} {mark.fingerprint}" for number, mark in enumerate(models, 1)},
    }


def object_fields(modality: str, header: Any, models: Sequence[ModelMark]) -> dict[str, Any]:
    """Return the fields of series and equipment of an object that is derived from a source."""
    from pydicom.uid import generate_uid

    return {
        "series_instance_uid": generate_uid(),
        "series_number": int(header.get("SeriesNumber") or 0) + SERIES_OFFSET[modality],
        "sop_instance_uid": generate_uid(),
        "instance_number": 1,
        "manufacturer": "bts",
        "manufacturer_model_name": " ".join(mark.name for mark in models)[:LONGEST],
        "software_versions": bts.__version__,
        "device_serial_number": " ".join(mark.fingerprint for mark in models)[:LONGEST],
        "series_description": f"bts {modality}. {DISCLAIMER}",
    }
