"""DICOM series among the inputs of a job: each volume is one input, called after its description and UID."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bts.data.readers.catalogue import file_kind
from bts.errors import RequestError
from bts.progress import counted

if TYPE_CHECKING:
    from bts.data.readers.series import LeftOut, SeriesFiles

LISTED = 5
"""Most series that the message on an unknown UID lists."""


@dataclass
class Studies:
    """Inputs of a job after DICOM files were grouped.

    Attributes:
        inputs: in order; a volume stands where its first file stood.
        series: volume of an input, by the path that it is called, such as `STUDY/T1-00012345`.
        failed: why a series or a file can't be used, by path.
        notes: one line for each object that is skipped.
    """

    inputs: list[Path] = field(default_factory=list)
    series: dict[Path, SeriesFiles] = field(default_factory=dict)
    failed: dict[Path, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def gather_series(
    paths: Sequence[Path],
    *,
    together: Collection[Path],
    files: Mapping[Path, Path],
    only: str | None = None,
) -> Studies:
    """Return the inputs with each volume of DICOM files in place of its files.

    Files that were found together are grouped by series. A file that was named alone stays a picture, unless it has several
    frames. A series of one slice is a picture too.

    Args:
        paths: input files.
        together: those of them that were found in folders and archives.
        files: file on the disk of an input that is called otherwise.
        only: series UID; leaves out all other inputs.

    Raises:
        RequestError: no input has that series UID.
    """
    dicom = {str(files.get(path, path)): path for path in paths if _is_dicom(files.get(path, path))}
    if not dicom and only is None:
        return Studies(list(paths))
    from bts.data.readers.series import common_folder, find_series  # here, as nibabel slows down the first answer on a PNG

    grouped = [file for file, path in dicom.items() if only is not None or path in together]
    found, left = find_series(counted(grouped, "reading headers", unit="files"))
    for file in dicom if len(grouped) < len(dicom) else ():
        if dicom[file] not in together and only is None:
            volumes, others = find_series([file])
            if any(volume.series.frame_numbers for volume in volumes):
                found, left = [*found, *volumes], [*left, *others]
    if only is not None:
        found, left = _select(found, left, only)
    studies = Studies()
    instead: dict[Path, list[Path]] = {path: [] for path in (paths if only is not None else map(dicom.__getitem__, grouped))}
    for volume in found:
        members = list(dict.fromkeys(dicom[file] for file in volume.series.files))
        path = members[0]
        if volume.shape[2] > 1 or volume.series.frame_numbers:
            alone = volume.part == "" and path not in together
            path = path if alone else _free(Path(common_folder(list(map(str, members))), volume.name), studies.series)
            studies.series[path] = volume
        instead.setdefault(members[0], []).append(path)
    for each in left:
        members = [dicom[file] for file in each.files]
        path = Path(common_folder(list(map(str, members))), each.name) if each.name else members[0]
        if each.failed:
            studies.failed[_free(path, studies.failed)] = f"{path}: {each.reason}"
        else:
            studies.notes.append(f"{path} is skipped: {each.reason}")
    studies.inputs = [each for path in paths for each in instead.get(path, [path])]
    if not studies.inputs and not studies.failed:
        raise RequestError("; ".join(["no slice of MR in the inputs", *studies.notes[:LISTED]]))
    return studies


def _is_dicom(file: Path) -> bool:
    try:
        return file.is_file() and file_kind(file) == "dicom"
    except OSError:
        return False


def _select(found: Sequence[SeriesFiles], left: Sequence[LeftOut], uid: str) -> tuple[list[SeriesFiles], list[LeftOut]]:
    """Return what has that series UID."""
    wanted = [volume for volume in found if volume.series.series_uid == uid]
    refused = [each for each in left if each.series_uid == uid]
    if not wanted and not refused:
        known = [f"{volume.series.series_uid} ({volume.summary})" for volume in found if volume.series.series_uid]
        more = f" and {len(known) - LISTED} more" if len(known) > LISTED else ""
        there = "; ".join(known[:LISTED]) + more if known else "none"
        raise RequestError(f"no series {uid} in the inputs: found are {there}")
    return wanted, refused


def _free(path: Path, taken: Collection[Path]) -> Path:
    """Return the path, with a number where it is taken."""
    free, number = path, 1
    while free in taken:
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free
