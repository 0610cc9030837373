"""Uploads: checked, read in a process of their own, and known from here on by their bare name, never by where they lie."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePath

from bts.apps.web.limits import MIB, Limits
from bts.data.readers.catalogue import suffix
from bts.data.readers.isolated import ClaimError, read_scan_isolated
from bts.data.readers.scan import Scan
from bts.errors import InputError


def bare_name(path: str | Path) -> str:
    """Return a file's name without folders and without signs that can't be shown.

    >>> bare_name("../../etc/brain.png")
    'brain.png'
    """
    name = PurePath(str(path).replace("\\", "/")).name
    return "".join(letter for letter in name if letter.isprintable()) or "scan"


def read_upload(path: str | Path, *, limits: Limits, axis: int | None = None) -> Scan:
    """Return what an uploaded file holds, under its bare name.

    Args:
        path: where the upload lies.
        limits: what is accepted.
        axis: along which a volume is cut, as for `read_scan`.

    Raises:
        InputError: one line with the bare name in front, as `infer.py` tells it, or over a limit of the page.
        OSError: no process can be started to read it in.
    """
    path, name = Path(path), bare_name(path)
    try:
        _check_size(path, limits)
        scan = _read(path, limits, axis=axis)
    except InputError as error:
        raise InputError(str(error).replace(str(path), name)).at(name) from error
    slices = [replace(item, path=name, patient=None) for item in scan.slices]
    return replace(scan, path=name, slices=slices)


def _read(path: Path, limits: Limits, *, axis: int | None) -> Scan:
    volume = suffix(path) in (".nii", ".nii.gz")
    most, unit = (limits.voxels, "voxels") if volume else (limits.pixels, "pixels")
    try:
        scan = read_scan_isolated(path, axis=axis, most_values=most)
    except ClaimError as error:
        raise InputError(
            f"its header claims {error.claimed} {unit}: this page takes at most {most}, use `python infer.py`"
        ) from error
    largest = max(item.image.size for item in scan.slices)
    if largest > limits.pixels:
        raise InputError(f"a slice of {largest} pixels: this page takes at most {limits.pixels}, use `python infer.py`")
    return scan


def _check_size(path: Path, limits: Limits) -> None:
    """Refuse what is too large or gone, from the file's size alone."""
    if not path.is_file():
        raise InputError("the upload is no longer there: choose the file again")
    size = path.stat().st_size
    if size > limits.upload_mib * MIB:
        raise InputError(
            f"a file of {size / MIB:.0f} MiB: this page takes at most {limits.upload_mib:g} MiB, use `python infer.py`"
        )
