"""Manifest of slices from several sources, with paths relative to its folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from bts.atomic import replacing
from bts.csv_files import dict_writer
from bts.data.sources.base import Record
from bts.data.sources.manifest import COLUMNS, MORE
from bts.errors import RequestError

Row = dict[str, str]


def manifest_rows(
    root: Path,
    records: Sequence[Record],
    *,
    folder: Path,
    name: str,
    patients: Mapping[str, str] | None = None,
) -> list[Row]:
    """Return a row of a manifest in `folder` for each record.

    Args:
        root: folder that the paths of the records are relative to.
        records: which of them.
        folder: where the table will lie.
        name: what the set is called in the table, where a record names none.
        patients: patient by path, for slices whose publisher names none.

    Raises:
        RequestError: a slice that is no file of its own (`npz`), or lies on another drive than the table.
    """
    rows = []
    for record in records:
        label, patient = record.label or "", record.patient or (patients or {}).get(record.path, "")
        paths = [_relative(root, path, folder) if path else "" for path in (record.path, record.mask)]
        mixed = (record.plane or "", record.source or name)
        rows.append(dict(zip((*COLUMNS, *MORE), (paths[0], label, paths[1], patient, record.part or "", *mixed), strict=True)))
    return rows


def write_manifest(file: Path, rows: Sequence[Row]) -> None:
    """Write the table; its folder is made where it isn't there. `RequestError` where it can't be written."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as part, part.open("w", encoding="utf-8", newline="") as handle:
            writer = dict_writer(handle, (*COLUMNS, *MORE))
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise RequestError(f"{file}: can't be written ({error.strerror}): choose another file with --out") from error


def _relative(root: Path, name: str, folder: Path) -> str:
    path = Path(root) / name
    if not path.is_file():
        raise RequestError(f"{path}: no file of its own: a table can name only pictures that are files, save them as PNG")
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError as error:
        raise RequestError(f"{path}: on another drive than {folder}: write the table to the drive of the data") from error
