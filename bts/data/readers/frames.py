"""Frames of a DICOM file by its header: where each lies, and what tells the volumes of one series apart.

Classic files hold one frame; in enhanced ones the fields stand in functional groups, for each frame or shared by all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bts.data.readers.bounds import MAX_DICOM_FRAMES, MAX_DICOM_GROUPS, MAX_TEXT, MAX_VOLUME_BYTES, refuse_claim
from bts.data.readers.dicom import GREY, read_data, readable_errors, spacing_of
from bts.data.slice import MAX_SIDE
from bts.errors import InputError

MODALITY = "MR"
DIRECTORY = "1.2.840.10008.1.3.10"
"""Of a DICOMDIR, the list of the files on a disc."""
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
"""Class of screenshots and scanned films, and the beginning of those of several frames."""
LEAST_MM, MOST_MM = 1e-3, 1e5
"""Least pixel spacing, and most of any coordinate or length."""
SIGNIFICANT = 4
"""Digits in which two echo times or b-values differ, where they differ."""
PER_FRAME, SHARED = "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"
APART: dict[str, tuple[tuple[str | int, ...], ...]] = {
    "image type": (("MRImageFrameTypeSequence", "FrameType"), ("ImageType",)),
    "component": (("MRImageFrameTypeSequence", "ComplexImageComponent"), ("ComplexImageComponent",)),
    "echo": (("MREchoSequence", "EffectiveEchoTime"), ("EchoTime",), ("EchoNumbers",)),
    "inversion": (("MRTimingAndRelatedParametersSequence", "InversionTime"), ("InversionTime",)),
    "b-value": (("MRDiffusionSequence", "DiffusionBValue"), ("DiffusionBValue",), (0x0019100C,), (0x00431039,)),
    "gradient": (
        ("MRDiffusionSequence", "DiffusionGradientDirectionSequence", "DiffusionGradientOrientation"),
        ("DiffusionGradientOrientation",),
    ),
    "time point": (("FrameContentSequence", "TemporalPositionIndex"), ("TemporalPositionIdentifier",)),
    "trigger": (("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"), ("TriggerTime",)),
    "acquisition": (("FrameContentSequence", "FrameAcquisitionNumber"), ("AcquisitionNumber",)),
}
"""What can tell volumes at the same places apart, and where it stands, the first that is there; the b-value also where Siemens
(0019,100C) and GE (0043,1039) write it."""


@dataclass(frozen=True)
class Header:
    """What all frames of a file share.

    Attributes:
        file: its path.
        study_uid: StudyInstanceUID, or an empty string, as all texts.
        series_uid: SeriesInstanceUID.
        frame_of_reference_uid: FrameOfReferenceUID.
        instance_uid: SOPInstanceUID.
        sop_class_uid: SOPClassUID.
        modality: such as MR.
        description: SeriesDescription.
        localizer: whether ImageType names it one.
        shape: rows and columns.
        frames: count.
        unwanted: why the file is no slice of an MR series, or an empty string.
    """

    file: str
    study_uid: str
    series_uid: str
    frame_of_reference_uid: str
    instance_uid: str
    sop_class_uid: str
    modality: str
    description: str
    localizer: bool
    shape: tuple[int, int]
    frames: int
    unwanted: str


@dataclass(frozen=True, eq=False)
class Place:
    """Where a frame lies in the patient.

    Attributes:
        position: (3,) LPS of the first pixel's centre in mm.
        directions: (2, 3) unit vectors LPS along a row and along a column.
        spacing_mm: between rows and between columns.
    """

    position: np.ndarray
    directions: np.ndarray
    spacing_mm: tuple[float, float]

    @property
    def normal(self) -> np.ndarray:
        """Unit vector (3,) LPS across the slice."""
        return np.cross(*self.directions)


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a file.

    Attributes:
        header: of the file.
        number: in the file, from 1.
        place: None where the header does not state it.
        missing: the first field that is missing for a place, or an empty string.
        thickness_mm: of the slice, or None.
        stack: StackID of an enhanced file, or an empty string.
        apart: value of each of `APART`, None where it is not stated.
    """

    header: Header
    number: int
    place: Place | None
    missing: str
    thickness_mm: float | None
    stack: str
    apart: tuple[str | float | None, ...]

    @property
    def at(self) -> Place:
        """The place; raises `InputError` where there is none."""
        if self.place is None:
            raise InputError(f"no {self.missing}, so that its place is unknown: export the series again")
        return self.place


def read_frames(path: str | Path) -> tuple[Header, list[Frame]]:
    """Return the header of a DICOM file and its frames, none where it is unwanted or a DICOMDIR; pixels stay unread.

    Raises:
        InputError: no DICOM, damaged, without a picture, or a claim that its size refutes.
    """
    with readable_errors():
        data = read_data(path, pixels=False)
        header = _header(data, str(path))
        if header.unwanted or header.sop_class_uid == DIRECTORY:
            return header, []
        _refuse_size(data, header)
        return header, [_frame(header, number, groups) for number, groups in enumerate(functional_groups(data), start=1)]


def functional_groups(data: Any) -> Iterator[tuple[Any, ...]]:
    """Yield for each frame the data sets that describe it, the most specific first and the file's own last."""
    frames = int(data.get("NumberOfFrames") or 1)
    shared = _items(data, SHARED)[:1]
    each = _items(data, PER_FRAME)
    for index in range(frames):
        yield (*each[index : index + 1], *shared, data)


def find_field(groups: tuple[Any, ...], *path: str | int) -> Any:
    """Return the value of a field by its path of sequences, from the first of the `groups` that has it, or None.

    Raises:
        InputError: a field that is longer than it can be.
    """
    for group in groups:
        for name in path[:-1]:
            items = _items(group, name)
            if not items:
                break
            group = items[0]
        else:
            value = _value(group, path[-1])
            if value is not None and value != "":
                return value
    return None


def _header(data: Any, file: str) -> Header:
    def text(name: str) -> str:
        value = _value(data, name)
        return "" if value is None else str(value).strip()

    rows, columns = (int(_value(data, name) or 0) for name in ("Rows", "Columns"))
    sop_class = text("SOPClassUID") or str(data.file_meta.get("MediaStorageSOPClassUID", ""))
    modality, kind = text("Modality"), text("PhotometricInterpretation") or GREY[1]
    unwanted = ""
    if modality not in (MODALITY, ""):
        unwanted = f"modality {modality[:16]}: only {MODALITY} is answered"
    elif sop_class.startswith(SECONDARY_CAPTURE):
        unwanted = "a secondary capture (screenshot): only slices as they were scanned are answered"
    elif kind not in GREY:
        unwanted = f"colour ({kind[:32]}): only grey slices are answered"
    return Header(
        file=file,
        study_uid=text("StudyInstanceUID"),
        series_uid=text("SeriesInstanceUID"),
        frame_of_reference_uid=text("FrameOfReferenceUID"),
        instance_uid=text("SOPInstanceUID"),
        sop_class_uid=sop_class,
        modality=modality,
        description=text("SeriesDescription"),
        localizer="LOCALIZER" in str(_value(data, "ImageType")),
        shape=(rows, columns),
        frames=int(_value(data, "NumberOfFrames") or 1),
        unwanted=unwanted,
    )


def _refuse_size(data: Any, header: Header) -> None:
    """Refuse sizes that are none, and pixels that the file can't hold."""
    rows, columns = header.shape
    if min(rows, columns) < 1:
        raise InputError("a DICOM file without a picture: name a file of the image series")
    if max(rows, columns) > MAX_SIDE or not 1 <= header.frames <= MAX_DICOM_FRAMES:
        raise InputError(
            f"its header claims {header.frames} x {rows} x {columns} pixels (frames, rows, columns): accepted are "
            f"{MAX_DICOM_FRAMES} frames and {MAX_SIDE} a side"
        )
    claimed = rows * columns * header.frames * max(int(_value(data, "BitsAllocated") or 8), 8) // 8
    stored = Path(header.file).stat().st_size
    refuse_claim("its header", claimed=claimed, stored=stored, most=MAX_VOLUME_BYTES)


def _frame(header: Header, number: int, groups: tuple[Any, ...]) -> Frame:
    def either(sequence: str, name: str) -> Any:
        found = find_field(groups, sequence, name)
        return find_field(groups, name) if found is None else found

    directions = _numbers(either("PlaneOrientationSequence", "ImageOrientationPatient"), 6)
    position = _numbers(either("PlanePositionSequence", "ImagePositionPatient"), 3)
    spacing = spacing_of(either("PixelMeasuresSequence", "PixelSpacing"))
    thickness = _numbers(either("PixelMeasuresSequence", "SliceThickness"), 1)
    place, missing = None, ""
    if directions is None:
        missing = "ImageOrientationPatient"
    elif position is None:
        missing = "ImagePositionPatient"
    elif spacing is None or not LEAST_MM <= min(spacing) <= max(spacing) <= MOST_MM:
        missing = "PixelSpacing"
    else:
        place = Place(position, directions.reshape(2, 3), spacing)
    return Frame(
        header=header,
        number=number,
        place=place,
        missing=missing,
        thickness_mm=None if thickness is None or thickness[0] <= 0 else float(thickness[0]),
        stack=str(find_field(groups, "FrameContentSequence", "StackID") or ""),
        apart=tuple(_mark(groups, *paths) for paths in APART.values()),
    )


def _mark(groups: tuple[Any, ...], *paths: tuple[str | int, ...]) -> str | float | None:
    """Return the first value that is there as a text, or as a number of few digits."""
    value = next((found for path in paths if (found := find_field(groups, *path)) is not None), None)
    if value is None:
        return None
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace").strip("\0 ").split("\\")[0]
    elif not isinstance(value, str) and hasattr(value, "__len__"):
        value = "/".join(str(part) for part in value)
    try:
        return float(f"{float(value):.{SIGNIFICANT}g}")
    except (TypeError, ValueError):
        return str(value)


def _numbers(value: Any, count: int) -> np.ndarray | None:
    """Return a field as (count,) numbers of plausible size, or None."""
    parts = np.array([float(part) for part in (value if hasattr(value, "__len__") else [value])] if value is not None else [])
    return parts if parts.shape == (count,) and (np.abs(parts) <= MOST_MM).all() else None


def _value(data: Any, name: str | int) -> Any:
    """Return the value of a field, checked for its length before pydicom takes it apart."""
    if name not in data:
        return None
    raw = data.get_item(name).value
    if isinstance(raw, bytes) and len(raw) > MAX_TEXT:
        raise InputError(f"its field {name} holds {len(raw)} bytes: at most {MAX_TEXT} are accepted, export it again")
    return data[name].value


def _items(data: Any, name: str | int) -> Any:
    """Return the items of a sequence, none where it is absent."""
    if name not in data:
        return []
    raw = data.get_item(name).value
    if isinstance(raw, bytes) and len(raw) > MAX_DICOM_GROUPS:
        raise InputError(
            f"its sequence {name} holds {len(raw)} bytes: at most {MAX_DICOM_GROUPS} are accepted, export it again"
        )
    value = data[name].value
    return value if data[name].VR == "SQ" and value is not None else []
