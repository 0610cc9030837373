"""DICOM series as volumes: files grouped by their headers, sorted by their positions, and read into one array.

Order, spacing and orientation come from ImagePositionPatient and ImageOrientationPatient alone, never from file names,
InstanceNumber, SliceThickness or SpacingBetweenSlices, which are wrong in many exports.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bts.data.readers.bounds import MAX_VOXELS
from bts.data.readers.dicom import MIRRORED, read_dicom, read_frame_data, read_values, readable_errors
from bts.data.readers.frames import DIRECTORY, Frame, Header, find_field, functional_groups, read_frames
from bts.data.readers.planes import cut_slices, fill_missing, lay_out
from bts.data.readers.scan import PLANES, Scan, Series, VolumeGeometry
from bts.data.readers.stack import LOCALIZER, count_orientations, find_stacks, is_skew, sort_volume, split_volumes
from bts.data.slice import Slice
from bts.errors import InputError
from bts.glossary import count_of

TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
LONGEST_NAME = 40
UID_END = 8
"""Characters of a series UID in its name."""


@dataclass(frozen=True, eq=False)
class SeriesFiles:
    """One volume of a DICOM series by its headers, or its lone slice.

    Attributes:
        series: identity and files, in the order of the third stored axis.
        shape: columns, rows and slices.
        affine: (4, 4) voxel index to RAS position in mm; None for a lone slice of unknown position.
        part: what tells it from the other volumes of its series, such as `echo 30`; an empty string where it is the only one.
    """

    series: Series
    shape: tuple[int, int, int]
    affine: np.ndarray | None
    part: str = ""

    @property
    def name(self) -> str:
        """Description, end of the UID and part, safe as the name of a folder."""
        return series_name(self.series.description, self.series.series_uid, self.part)

    @property
    def summary(self) -> str:
        """Name, plane, number of slices and modality, such as `T1-00012345, axial, 24 slices, MR`."""
        plane = [] if self.affine is None else [PLANES[int(np.abs(self.affine[:3, 2]).argmax())]]
        count = self.shape[2]
        return ", ".join([self.name, *plane, count_of(count, "slice"), self.series.modality])

    @property
    def path(self) -> Path:
        """The series under the folder that all its files are in, as it is called in results and messages."""
        return Path(common_folder(self.series.files), self.name)


class LeftOut(NamedTuple):
    """Files that give no volume.

    Attributes:
        name: of the series; an empty string for a file that is of none.
        series_uid: SeriesInstanceUID, or an empty string.
        files: their paths.
        reason: one line.
        failed: whether slices of MR were meant that can't be read; False for other objects, which are skipped.
    """

    name: str
    series_uid: str
    files: tuple[str, ...]
    reason: str
    failed: bool


def find_series(files: Iterable[str | Path]) -> tuple[list[SeriesFiles], list[LeftOut]]:
    """Return the volumes of the MR series in DICOM files, by their headers alone, and what gives none.

    Slices belong together by study and series, size, spacing and orientation. Where several lie at the same place, they are
    told apart by image type, echo, inversion, b-value, gradient, time point or acquisition. Volumes are in the order of the
    files. Nothing is raised for a file or a series that can't be used.

    Args:
        files: DICOM files in any order.
    """
    groups: dict[tuple[str, str], list[Frame]] = defaultdict(list)
    unwanted: dict[tuple[str, str, str], list[Header]] = defaultdict(list)
    left: list[LeftOut] = []
    for path in files:
        try:
            header, frames = read_frames(path)
        except (InputError, OSError) as error:
            left.append(LeftOut("", "", (str(path),), _in_one_line(error), failed=True))
        else:
            if header.unwanted:
                unwanted[header.study_uid, header.series_uid or header.file, header.unwanted].append(header)
            elif header.sop_class_uid != DIRECTORY:
                groups[header.study_uid, header.series_uid or header.file] += frames
    for headers in unwanted.values():
        left.append(_left_out(headers, headers[0].unwanted, failed=False))
    found: list[SeriesFiles] = []
    for group in groups.values():
        frames, copies = _without_copies(group)
        left += copies
        volumes, others = _volumes(frames)
        found += volumes
        left += others
    return found, left


def read_series(found: SeriesFiles, *, axis: int | None = None) -> Scan:
    """Return the slices of a volume that `find_series` found; a lone slice as `read_dicom` returns it.

    Values are rescaled slice by slice. MONOCHROME1 is mirrored within the range of the volume, and padding becomes its
    darkest value.

    Args:
        found: one volume.
        axis: as for `read_nifti`: None takes the axis through a slab or of thick slices, else axial slices.

    Raises:
        InputError: a file is gone, damaged, changed since, or can't be decoded here; all slices are constant.
    """
    series, path = found.series, str(found.path)
    if found.shape[2] == 1 and not series.frame_numbers:
        return Scan(path=series.files[0], slices=[_read_picture(series.files[0])], series=series)
    placed = found.affine is not None
    affine = np.eye(4) if found.affine is None else found.affine
    sizes_mm = np.sqrt((affine[:3, :3] ** 2).sum(axis=0)).tolist()
    geometry, spacing_mm = lay_out(affine, found.shape, sizes_mm=sizes_mm, axis=axis, oriented=placed)
    planes = _read_planes(found, geometry)
    scan = cut_slices(planes, geometry, path=path, spacing_mm=spacing_mm if placed else None, notes=series.faults)
    return replace(scan, series=series)


def read_multiframe(path: str | Path, *, axis: int | None = None) -> Scan:
    """Return the volume in one file of several frames, the first with a note where it holds several.

    Raises:
        InputError: as `read_series`, or the file holds no volume.
    """
    volumes, left = find_series([path])
    if not volumes:
        raise InputError(left[0].reason if left else "a list of files, not a scan: name the folder it lies in")
    scan = read_series(volumes[0], axis=axis)
    notes = () if len(volumes) == 1 else (f"one of {len(volumes)} volumes in this file: only the first was read",)
    slices = [replace(item, path=str(path), warnings=(*item.warnings, *notes)) for item in scan.slices]
    return replace(scan, path=str(path), slices=slices)


def series_name(description: str, uid: str, part: str = "") -> str:
    """Return a name for a series that is safe as the name of a folder and holds nothing of the patient.

    >>> series_name("T1 MPRAGE, +C", "1.2.840.113619.2.5.1762583153", "echo 30")
    'T1_MPRAGE_C-62583153-echo_30'
    """
    words = (description[:LONGEST_NAME].strip("./ ") or "series", uid.replace(".", "")[-UID_END:], part[:LONGEST_NAME])
    return "-".join(safe for word in words if (safe := re.sub(r"[^\w.-]+", "_", word).strip("._")))


def common_folder(files: Sequence[str]) -> str:
    """Return the deepest folder that all files are in."""
    folders = {os.path.dirname(file) for file in files}
    return folders.pop() if len(folders) == 1 else os.path.commonpath(folders)


def _in_one_line(error: Exception) -> str:
    return str(error) if isinstance(error, InputError) else f"can't be read ({getattr(error, 'strerror', None) or error})"


def _left_out(headers: Sequence[Header], reason: str, *, failed: bool) -> LeftOut:
    files = tuple(dict.fromkeys(header.file for header in headers))
    uid = headers[0].series_uid
    name = series_name(headers[0].description, uid) if uid else ""
    count = f" ({len(files)} files)" if len(files) > 1 else ""
    return LeftOut(name, uid, files, reason + count, failed)


def _without_copies(frames: Sequence[Frame]) -> tuple[list[Frame], list[LeftOut]]:
    """Return the frames without those of further files that hold the same object."""
    first: dict[str, str] = {}
    kept: list[Frame] = []
    copies: dict[str, Header] = {}
    for frame in frames:
        header = frame.header
        if first.setdefault(header.instance_uid or header.file, header.file) == header.file:
            kept.append(frame)
        else:
            copies[header.file] = header
    if not copies:
        return kept, []
    return kept, [_left_out(list(copies.values()), "copies of slices that are there already", failed=False)]


def _volumes(frames: Sequence[Frame]) -> tuple[list[SeriesFiles], list[LeftOut]]:
    """Return the volumes of the frames of one series."""
    headers = [frame.header for frame in frames]
    if len(frames) == 1:
        return [_lone(frames[0])], []
    try:
        stacks = find_stacks(frames)
    except InputError as error:
        return [], [_left_out(headers, str(error), failed=True)]
    turns = count_orientations(stacks)
    if turns >= LOCALIZER or (turns > 1 and any(header.localizer for header in headers)):
        return [], [_left_out(headers, f"a localizer: slices in {turns} orientations, which make no volume", failed=False)]
    parts: list[tuple[str, list[Frame]]] = []
    for number, stack in enumerate(stacks, start=1):
        label = f"stack {number}" if len(stacks) > 1 else ""
        parts += [(f"{label} {inner}".strip(), part) for inner, part in split_volumes(stack)]
    most = max(len(part) for _, part in parts)
    found: list[SeriesFiles] = []
    left: list[LeftOut] = []
    for label, part in parts:
        try:
            fault = (f"{len(part)} slices, where other volumes of the series have {most}",) if len(part) < most else ()
            found.append(_lone(part[0], label) if len(part) == 1 else _volume(part, label, fault))
        except InputError as error:
            which = f"{label}: " if label else ""
            left.append(_left_out([frame.header for frame in part], f"{which}{error}", failed=True))
    return found, left


def _lone(frame: Frame, part: str = "") -> SeriesFiles:
    if frame.place is None or is_skew(frame.place):
        return _files([frame], None, part)
    return _files([frame], frame.place.normal * (frame.thickness_mm or 1.0), part)


def _volume(frames: Sequence[Frame], part: str, faults: tuple[str, ...]) -> SeriesFiles:
    ordered = sort_volume(frames)
    rows, columns = ordered[0].header.shape
    if rows * columns * len(ordered) > MAX_VOXELS:
        raise InputError(
            f"{columns} x {rows} x {len(ordered)} voxels: at most {MAX_VOXELS} are accepted, scale the series down"
        )
    across = (ordered[-1].at.position - ordered[0].at.position) / (len(ordered) - 1)
    return _files(ordered, across, part, faults)


def _files(ordered: Sequence[Frame], across: np.ndarray | None, part: str, faults: tuple[str, ...] = ()) -> SeriesFiles:
    """Return frames in their order as one volume; `across` (3,) LPS leads from one to the next."""
    first = ordered[0]
    header = first.header
    affine = None
    if across is not None:
        rows_mm, columns_mm = first.at.spacing_mm
        along_row, along_column = first.at.directions
        lps = np.eye(4)
        lps[:3] = np.column_stack([along_row * columns_mm, along_column * rows_mm, across, first.at.position])
        affine = TO_RAS @ lps
    several = any(frame.header.frames > 1 for frame in ordered)
    series = Series(
        study_uid=header.study_uid,
        series_uid=header.series_uid,
        frame_of_reference_uid=header.frame_of_reference_uid,
        modality=header.modality,
        description=header.description,
        files=tuple(frame.header.file for frame in ordered),
        instance_uids=tuple(frame.header.instance_uid for frame in ordered),
        frame_numbers=tuple(frame.number for frame in ordered) if several else (),
        faults=faults,
    )
    return SeriesFiles(series, (header.shape[1], header.shape[0], len(ordered)), affine, part)


def _read_picture(file: str) -> Slice:
    try:
        return read_dicom(file)
    except InputError as error:
        raise error.at(file) from error


def _read_planes(found: SeriesFiles, geometry: VolumeGeometry) -> np.ndarray:
    """Return the slices (n_slices, H, W) float32 as they are cut; beside them there is one slice at a time in memory."""
    series = found.series
    planes = np.empty((geometry.n_slices, *geometry.slice_shape), np.float32)
    stored = geometry.as_stored(planes)
    numbers = series.frame_numbers or (1,) * len(series.files)
    places: dict[str, dict[int, int]] = defaultdict(dict)
    for index, (file, number) in enumerate(zip(series.files, numbers, strict=True)):
        places[file][number] = index
    mirrored, padded = False, False
    for file, wanted in places.items():
        try:
            with readable_errors():
                groups = None
                count = 0
                for number, header, data in read_frame_data(file, wanted):
                    groups = groups or list(functional_groups(header))
                    for name in ("RescaleSlope", "RescaleIntercept"):
                        value = find_field(groups[number - 1], "PixelValueTransformationSequence", name)
                        if value is not None:
                            setattr(data, name, value)
                    values, padding = read_values(data)
                    if values.shape != found.shape[1::-1]:
                        raise InputError("its slices changed while they were read: export the series again")
                    mirrored |= header.get("PhotometricInterpretation") == MIRRORED
                    if padding is not None and padding.any():
                        values[padding] = np.nan
                        padded = True
                    stored[:, :, wanted[number]] = values.T
                    count += 1
                if count < len(wanted):
                    raise InputError(f"{count} of {len(wanted)} frames are there: the file is truncated, export it again")
        except OSError as error:
            raise InputError(f"{file}: {_in_one_line(error)}") from error
        except InputError as error:
            raise error.at(file) from error
    if mirrored or padded:
        fill_missing(planes, mirrored=mirrored)
    return planes
