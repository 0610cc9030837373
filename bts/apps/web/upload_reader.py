"""Reading of uploads: checked, read in a separate process, and named by their bare file name, never by their path."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePath

from bts.apps.web.limits import MIB, Limits
from bts.data.readers.catalogue import suffix
from bts.data.readers.isolated import ClaimError, read_scan_isolated
from bts.data.readers.scan import Scan
from bts.errors import InputError


def bare_name(path: str | Path) -> str:
    """Return a file's name without folders and unprintable characters.

    >>> bare_name("../../etc/brain.png")
    'brain.png'
    """
    name = PurePath(str(path).replace("\\", "/")).name
    return "".join(letter for letter in name if letter.isprintable()) or "scan"


def read_upload(path: str | Path, *, limits: Limits, axis: int | None = None) -> Scan:
    """Read an uploaded file, under its bare name.

    Args:
        path: path of the upload.
        limits: limits of the page.
        axis: axis along which a volume is cut, as for `read_scan`.

    Raises:
        InputError: the message of `infer.py` with the bare name in front, or a limit of the page is exceeded.
        OSError: the reading process cannot be started.
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
    """Refuse a missing or too large file."""
    if not path.is_file():
        raise InputError("the upload has been removed: choose the file again")
    size = path.stat().st_size
    if size > limits.upload_mib * MIB:
        raise InputError(
            f"a file of {size / MIB:.0f} MiB: this page takes at most {limits.upload_mib:g} MiB, use `python infer.py`"
        )
