"""The reader of each file format; every one yields a `Scan`.

A new format gets its suffix in `KINDS`, a branch in `_read`, limits from `bts.data.readers.bounds`, and a branch in
`claimed_values` where its header tells a size.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Literal

from bts.data.readers.bounds import NO_MEMORY
from bts.data.readers.dicom import SeveralFrames, claimed_dicom_pixels, is_dicom, read_dicom
from bts.data.readers.picture import claimed_picture, read_picture
from bts.data.readers.scan import Scan, VolumeGeometry
from bts.data.slice import Slice
from bts.errors import InputError

__all__ = ["Scan", "VolumeGeometry"]  # other modules take them from here

Kind = Literal["mat", "picture", "nifti", "dicom"]
KINDS: dict[str, Kind] = {
    ".mat": "mat",
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".mpo"), "picture"),
    ".nii": "nifti",
    ".nii.gz": "nifti",
    ".dcm": "dicom",
    ".dicom": "dicom",
}
"""Which reader takes a file by the end of its name."""
SUFFIXES = tuple(KINDS)
"""What is readable by its name, in small or capital letters; DICOM is also known by its content, under any other name."""


def read_scan(path: str | Path, *, axis: int | None = None) -> Scan:
    """Return what a file of any supported format holds, first row at the top.

    Args:
        path: a file with one of `SUFFIXES`, or DICOM under any name.
        axis: along which a volume (NIfTI, or DICOM of several frames) is cut: 0 sagittal, 1 coronal, 2 axial slices, None as it
            was scanned.

    Raises:
        InputError: one line with the path in front: missing, a folder, empty, of an unknown kind, damaged or unusable.
    """
    try:
        return _read(Path(path), axis=axis)
    except InputError as error:
        raise error.at(path) from error
    except MemoryError as error:
        raise InputError(f"{path}: {NO_MEMORY}") from error
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror or error}): check the disk and the permissions") from error


def read_slice(path: str | Path) -> Slice:
    """Return the one slice of a file; raises `InputError` like `read_scan`, and where the file holds a volume."""
    scan = read_scan(path)
    if scan.volume is not None:
        raise InputError(f"{path}: a volume of {scan.volume.n_slices} slices where one is wanted: save the slice that is meant")
    return scan.slices[0]


def claimed_values(path: str | Path) -> int:
    """Return how many values the header of a volume or of a picture claims, without reading them.

    0 where it is unknown: the reader reports what is wrong.
    """
    try:
        kind = file_kind(path)
        if kind == "nifti":
            from bts.data.readers.nifti import claimed_voxels

            return claimed_voxels(path)
        if kind == "mat":
            from bts.data.readers.mat import claimed_pixels

            return claimed_pixels(path)
        if kind == "dicom":
            return claimed_dicom_pixels(path)
        return claimed_picture(path) if kind == "picture" else 0
    except Exception:  # a damaged file raises anything: the reader names the damage in one line
        return 0


def file_kind(path: str | PathLike[str]) -> Kind | None:
    """Return which reader takes a file: by its name, or DICOM by its content under any other name; None for other files.

    Raises:
        OSError: a file of another name can't be read.
    """
    known = suffix(path)
    return KINDS[known] if known else "dicom" if is_dicom(path) else None


def is_scan(path: str | PathLike[str]) -> bool:
    """Tell whether a file is one that `read_scan` takes, by its name or, for DICOM, by its content.

    Named pipes, folders and files that can't be opened are none.
    """
    try:
        return Path(path).is_file() and file_kind(path) is not None
    except OSError:
        return False


def skipped_line(others: Sequence[object]) -> str:
    """Return the line on files that are not scans.

    >>> skipped_line(["set/readme.txt"])
    'set/readme.txt is not a scan and is skipped'
    """
    if len(others) == 1:
        return f"{others[0]} is not a scan and is skipped"
    return f"{len(others)} files that are not scans are skipped (first: {others[0]})"


def suffix(path: str | PathLike[str]) -> str:
    """Return the one of `SUFFIXES` that the name ends with, or an empty string.

    >>> suffix("a/Scan.NII.gz")
    '.nii.gz'
    """
    name = Path(path).name.lower()
    return next((known for known in sorted(SUFFIXES, key=len, reverse=True) if name.endswith(known)), "")


def _read(path: Path, *, axis: int | None) -> Scan:
    if path.is_dir():
        raise InputError("a folder, expected a file: name the files in it")
    if not path.exists():
        raise InputError("no such file: check the path")
    if not path.is_file():
        raise InputError("not a regular file: name a picture on disk")
    if path.stat().st_size == 0:
        raise InputError("the file is empty (0 bytes): download or export it again")
    kind = file_kind(path)
    if kind == "nifti":
        from bts.data.readers.nifti import read_nifti  # here, as nibabel and h5py would slow down the first answer on a PNG

        return read_nifti(path, axis=axis)
    if kind == "mat":
        from bts.data.readers.mat import read_mat

        return Scan(path=str(path), slices=[read_mat(path)])
    if kind == "dicom":
        try:
            return Scan(path=str(path), slices=[read_dicom(path)])
        except SeveralFrames:
            from bts.data.readers.series import read_multiframe

            return read_multiframe(path, axis=axis)
    if kind is None:
        raise InputError(
            f"a file of an unknown kind '{path.suffix}': readable are {', '.join(SUFFIXES)} and DICOM under any name"
        )
    return Scan(path=str(path), slices=[read_picture(path)])
