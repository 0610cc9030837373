"""Reading of uploads: checked, read in a separate process, and named by their bare file name, never by their path.

One file is a scan, or a zip archive; several files, as those of an archive, are the slices of one DICOM series.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Literal

from bts.apps.web.limits import MIB, Limits
from bts.data.readers.archive import SUFFIX
from bts.data.readers.catalogue import suffix
from bts.data.readers.isolated import ClaimError, read_scan_isolated, unpack_isolated
from bts.data.readers.scan import Scan
from bts.errors import InputError
from bts.glossary import count_of

HEADERS = "headers"
"""Folder beside an upload for the headers of its series."""

VOLUMES = (".nii", ".nii.gz", ".dcm", ".dicom", "")
"""Suffixes of files that may hold a volume; DICOM has any or none."""


def bare_name(path: str | Path) -> str:
    """Return a file's name without folders and unprintable characters.

    >>> bare_name("../../etc/brain.png")
    'brain.png'
    """
    name = PurePath(str(path).replace("\\", "/")).name
    return "".join(letter for letter in name if letter.isprintable()) or "scan"


def upload_name(paths: Sequence[str | Path]) -> str:
    """Return how an upload is called in messages.

    >>> upload_name(["a/1.dcm", "b/2.dcm", "c/3.dcm"])
    '1.dcm and 2 other files'
    """
    others = len(paths) - 1
    return bare_name(paths[0]) + (f" and {count_of(others, 'other file')}" if others else "")


def read_upload(upload: Sequence[str | Path], *, limits: Limits, axis: int | None = None, series: int | None = None) -> Scan:
    """Read an upload, under its bare name; a series under its own.

    Args:
        upload: paths of the files that were uploaded together.
        limits: limits of the page.
        axis: axis along which a volume is cut, as for `read_scan`.
        series: number of the series where there are several, as for `find_one_series`.

    Raises:
        SeveralSeriesError: there are several, and no number.
        InputError: the message of `infer.py` with the bare name in front, or a limit of the page is exceeded.
        OSError: the reading process cannot be started.
    """
    paths = [Path(path) for path in upload]
    name = upload_name(paths)
    try:
        _check_size(paths, limits)
        if len(paths) > 1 or paths[0].suffix.lower() == SUFFIX:
            scan = _read_together(paths, limits, axis=axis, series=series)
        else:
            scan = replace(_read(paths[0], limits, axis=axis, series=series), path=name)
    except InputError as error:
        raise error.reworded(str(error).replace(str(paths[0]), name)).at(name) from error
    shown = bare_name(scan.path)
    slices = [replace(item, path=shown, patient=None) for item in scan.slices]
    return replace(scan, path=shown, slices=slices)


def _read_together(paths: Sequence[Path], limits: Limits, *, axis: int | None, series: int | None) -> Scan:
    """Read an archive or several files as the one scan in them."""
    with tempfile.TemporaryDirectory(dir=paths[0].parent, prefix="series-") as name:
        folder = Path(name)
        if len(paths) == 1:
            names = unpack_isolated(paths[0], folder, most_bytes=int(limits.unpacked_mib * MIB))
        else:
            names = {folder / f"{number:05}{suffix(path)}": bare_name(path) for number, path in enumerate(paths)}
            for file, path in zip(names, paths, strict=True):
                os.link(path, file)
        called = {str(file): name for file, name in names.items()}
        try:
            if len(names) == 1:
                (file,) = names
                return replace(_read(file, limits, axis=axis, series=series, headers=paths[0].parent), path=names[file])
            scan = _read(folder, limits, kind="folder", axis=axis, series=series, headers=paths[0].parent)
        except InputError as error:
            raise error.reworded(_with_names(str(error), called, folder)) from error
        return replace(scan, path=called.get(str(folder / scan.path), scan.path))


def _with_names(line: str, called: Mapping[str, str], folder: Path) -> str:
    """Return an error with the files called as in the upload, and without the folder that they were gathered in."""
    for file, name in called.items():
        line = line.replace(file, name)
    return line.replace(f"{folder}: ", "")


def _read(
    path: Path,
    limits: Limits,
    *,
    kind: Literal["file", "folder"] = "file",
    axis: int | None,
    series: int | None,
    headers: Path | None = None,
) -> Scan:
    """Read a file, or one series in a folder; the headers of a series are kept beside the upload."""
    volume = kind == "folder" or suffix(path) in VOLUMES
    most, unit = (limits.voxels, "voxels") if volume else (limits.pixels, "pixels")
    try:
        headers = (headers or path.parent) / HEADERS
        scan = read_scan_isolated(path, kind=kind, axis=axis, series=series, most_values=most, headers=headers)
    except ClaimError as error:
        raise InputError(
            f"its header claims {error.claimed} {unit}: this page takes at most {most}, use `python infer.py`"
        ) from error
    largest = max(item.image.size for item in scan.slices)
    if largest > limits.pixels:
        raise InputError(f"a slice of {largest} pixels: this page takes at most {limits.pixels}, use `python infer.py`")
    return scan


def _check_size(paths: Sequence[Path], limits: Limits) -> None:
    """Refuse missing files, too many or too large ones."""
    if not paths or not all(path.is_file() for path in paths):
        raise InputError("the upload has been removed: choose the file again")
    if len(paths) > limits.files:
        raise InputError(f"{len(paths)} files: this page takes {limits.files} at once, pack a longer series as a zip")
    size = sum(path.stat().st_size for path in paths)
    if size > limits.upload_mib * MIB:
        what = "a file" if len(paths) == 1 else "files"
        raise InputError(
            f"{what} of {size / MIB:.0f} MiB: this page takes at most {limits.upload_mib:g} MiB, use `python infer.py`"
        )
