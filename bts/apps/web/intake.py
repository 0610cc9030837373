"""What is in an upload? Checked before it is read; from here on it is known by its bare name, never by where it lies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from bts.apps.web.limits import MIB, Limits
from bts.data.readers.catalogue import read_scan, suffix
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
    """
    path, name = Path(path), bare_name(path)
    try:
        _check_size(path, limits)
        scan = read_scan(path, axis=axis)
    except InputError as error:
        raise InputError(str(error).replace(str(path), name)).at(name) from error
    slices = [replace(item, path=name, patient=None) for item in scan.slices]
    return replace(scan, path=name, slices=slices)


def _check_size(path: Path, limits: Limits) -> None:
    """Refuse what is too large, told from the file's size and its header alone."""
    if not path.is_file():
        raise InputError("the upload is no longer there: choose the file again")
    size = path.stat().st_size
    if size > limits.upload_mib * MIB:
        raise InputError(
            f"a file of {size / MIB:.0f} MiB: this page takes at most {limits.upload_mib:g} MiB, use `python infer.py`"
        )
    claimed = _claimed(path)
    if claimed > limits.voxels:
        raise InputError(f"its header claims {claimed} voxels: this page takes at most {limits.voxels}, use `python infer.py`")


def _claimed(path: Path) -> int:
    """Return how many values the header promises; 0 where it can't be told, as the reader will say why."""
    kind = suffix(path)
    try:
        if kind in (".nii", ".nii.gz"):
            import nibabel

            image: Any = nibabel.load(path)
            return _product(image.shape)
        if kind == ".mat":
            import h5py

            if h5py.is_hdf5(path):
                with h5py.File(path, "r") as file:
                    return max((_product(data.shape) for data in file.get("cjdata", {}).values()), default=0)
    except Exception:  # a damaged file raises anything: the reader names the damage in one line
        return 0
    return 0


def _product(shape: Any) -> int:
    count = 1
    for size in shape or ():
        count *= max(int(size), 0)
    return count
