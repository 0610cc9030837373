"""What is asked of the process in which uploads are read: a file, the one series in a folder, or the scans in an archive."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from bts.data.readers.archive import unpack_scans
from bts.data.readers.catalogue import claimed_values, file_kind, is_scan, read_scan
from bts.data.readers.headers import header_bytes
from bts.data.readers.one_series import find_one_series
from bts.data.readers.scan import Series
from bts.data.readers.scan_bytes import pack
from bts.data.readers.series import find_series, read_series
from bts.errors import InputError

Answer = tuple[dict[str, Any], Sequence[memoryview]]
"""Head of an answer and the bytes after it."""
Request = Mapping[str, Any]


def read_file(request: Request) -> Answer:
    """Read one file."""
    most = request["most_values"]
    if most is not None:
        claimed = claimed_values(request["path"])
        if claimed > most:
            return {"claimed": claimed}, ()
    path = Path(request["path"])
    if is_scan(path) and file_kind(path) == "dicom" and len(find_series([path])[0]) > 1:
        return _read_one([path], request)
    scan = read_scan(path, axis=request["axis"])
    return pack(scan, _headers(scan.series))


def read_folder(request: Request) -> Answer:
    """Read the one series in the files of a folder, or that of a number; the head has its `name`."""
    return _read_one(sorted(Path(request["path"]).iterdir()), request)


def _read_one(files: Sequence[Path], request: Request) -> Answer:
    found, notes = find_one_series(files, number=request["series"])
    columns, rows, count = found.shape
    if request["most_values"] is not None and columns * rows * count > request["most_values"]:
        return {"claimed": columns * rows * count}, ()
    scan = read_series(found, axis=request["axis"])
    scan = replace(scan, slices=[replace(item, warnings=(*item.warnings, *notes)) for item in scan.slices])
    head, parts = pack(scan, _headers(scan.series))
    return head | {"name": PurePath(scan.path).name}, parts


def read_archive(request: Request) -> Answer:
    """Unpack the scans in an archive of at most `most_values` bytes."""
    members = unpack_scans(request["path"], most_bytes=request["most_values"])
    return {"members": [[name, len(data)] for name, data in members]}, [memoryview(data) for _, data in members]


READS: dict[str, Callable[[Request], Answer]] = {"file": read_file, "folder": read_folder, "archive": read_archive}
"""By the kind of request."""


def _headers(series: Series | None) -> dict[str, bytes] | None:
    """Return the header of each file; None where one can't be handed on, as a result needs none of them."""
    if series is None:
        return None
    try:
        return {file: header_bytes(file) for file in dict.fromkeys(series.files)}
    except InputError:
        return None
