"""Slices of a user's own table: a CSV with `path, label, mask, patient_id, split`; only `path` is required.

Pictures of every readable kind may stand in one table, figshare's `.mat` files with the masks inside them beside PNGs.
"""

from __future__ import annotations

import csv
import posixpath
import re
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np

from bts.csv_files import dict_reader
from bts.data.readers.mat import read_mat_head
from bts.data.slice import Slice
from bts.data.sources.base import Record, Source, sources
from bts.data.sources.labels import class_name, ordered_classes, part_name
from bts.data.sources.picture_files import read_record, record_mask_values
from bts.errors import InputError, RequestError
from bts.glossary import NO_TUMOUR, PLANES, count_of
from bts.registry import suggestion

COLUMNS = ("path", "label", "mask", "patient_id", "split")
"""What is read. Other columns are left alone, unless their name looks like one of these misspelt."""
MORE = ("plane", "source")
"""Read too where they are there: `axial`, `coronal` or `sagittal` (other words say nothing), and the set a slice comes from."""
PATIENT = "patient_id"
PATIENT_NAMES = ("patientid", "patient", "subjectid", "subject", "pid", "participantid", "participant", "patientno", "personid")
"""Names of the column of patients, in small letters and without `_` and the like."""
UNSURE_NAMES = ("caseid", "case", "mrn", "studyid", "person", "individual", "individualid", "patientname", "patientnumber")
"""Names of columns that may or may not tell the patient: without another such column they are refused."""
FILE_NAME = "manifest.csv"
"""Name of the table where a folder is given."""


@sources.register("manifest")
class Manifest(Source):
    """Pictures named in a CSV: path, label, mask, patient_id, split."""

    name: ClassVar[str] = "manifest"

    def __init__(self, root: Path) -> None:
        given = Path(root)
        file = given if given.is_file() else given / FILE_NAME
        self.root = given if file == given / FILE_NAME else file.parent
        try:
            rows = _read_rows(file)
            self._records = [_record(cells, line) for line, cells in rows]
            _refuse_twice(rows)
            _refuse_missing(self.root, self._records, lines=[line for line, _ in rows])
        except RequestError as error:
            raise error.at(file) from error
        self._has_masks = any(record.mask or _is_mat(record) for record in self._records)
        self.synthetic = _is_synthetic(self.root, self._records)
        self.classes: tuple[str, ...] = ordered_classes(record.label for record in self._records if record.label)

    def records(self) -> list[Record]:
        """Return the rows, in the order of the file."""
        return list(self._records)

    def read(self, record: Record) -> Slice:
        """Return the slice of a record; where the table has masks, a healthy slice without one has an empty mask."""
        is_healthy = record.label == NO_TUMOUR and self._has_masks
        name = record.source or self.name
        return read_record(self.root, record, source=name, empty_mask=is_healthy, mask_labels=self.mask_labels)

    def mask_values(self, record: Record) -> np.ndarray | None:
        """Return the stored values of a record's mask."""
        return record_mask_values(self.root, record)


def _is_mat(record: Record) -> bool:
    return record.path.lower().endswith(".mat")


def _is_synthetic(root: Path, records: list[Record]) -> bool:
    """Return whether the first `.mat` file is a phantom; reading thousands at each start would cost seconds, and none mixes."""
    first = next((record for record in records if _is_mat(record)), None)
    try:
        return first is not None and read_mat_head(root / first.path).synthetic
    except InputError:  # reported with the file's name when the slice is read
        return False


def _read_rows(file: Path) -> list[tuple[int, dict[str, str]]]:
    """Return (line number, cells) of each row."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as handle:  # spreadsheets put a mark in front
            reader = dict_reader(handle)
            _refuse_columns(reader.fieldnames or ())
            patient = _patient_column(reader.fieldnames or ())
            rows = []
            for cells in reader:
                if None in cells or None in cells.values():
                    raise RequestError(f"line {reader.line_num} has not as many cells as the first line: quote commas in names")
                row = {name: value.strip() for name, value in cells.items()}
                rows.append((reader.line_num, row | ({PATIENT: row[patient]} if patient else {})))
    except OSError as error:
        raise RequestError(f"the manifest can't be read ({error.strerror}): give a CSV with {', '.join(COLUMNS)}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise RequestError(f"not a CSV file in UTF-8 ({error}): give a text file with {', '.join(COLUMNS)}") from error
    if not rows:
        raise RequestError("no slices in it: add a line for each picture")
    return rows


def _refuse_columns(names: object) -> None:
    given = [str(name) for name in names] if isinstance(names, list | tuple) else []
    if "path" not in given:
        near = suggestion("path", given)
        raise RequestError(f"no column 'path'{near}: expected a first line with {', '.join(COLUMNS)} (only path must be there)")
    for name in given:
        is_known = name in (*COLUMNS, *MORE) or _plain(name) in (*PATIENT_NAMES, *UNSURE_NAMES)
        near = "" if is_known else suggestion(name, COLUMNS)
        if near:
            raise RequestError(f"unknown column '{name}'{near}: rename it, or call it something that can't be mistaken")


def _patient_column(names: object) -> str | None:
    """Return the column that names the patient; raises `RequestError` where several do, or one might."""
    given = [str(name) for name in names] if isinstance(names, list | tuple) else []
    found = [name for name in given if _plain(name) in PATIENT_NAMES]
    if len(found) > 1:
        quoted = "' and '".join(found)
        raise RequestError(f"the columns '{quoted}' all name patients: keep one as {PATIENT}, rename the others")
    unsure = [name for name in given if _plain(name) in UNSURE_NAMES]
    if not found and unsure:
        raise RequestError(
            f"the column '{unsure[0]}' may name the patients: rename it to {PATIENT} if it does, else to something like 'note'"
        )
    return found[0] if found else None


def _plain(name: str) -> str:
    """Return the name of a column in small letters and digits alone."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _record(cells: dict[str, str], line: int) -> Record:
    path, split = cells["path"], cells.get("split", "")
    if not path:
        raise RequestError(f"line {line} has no path: name the picture")
    for each in (path, cells.get("mask", "")):
        if each and (Path(each).is_absolute() or "\\" in each):
            raise RequestError(f"line {line}: '{each}': expected a path relative to the manifest, with forward slashes")
    part = part_name(split) if split else None
    if split and part is None:
        raise RequestError(
            f"line {line}: split '{split}'{suggestion(split, ('train', 'val', 'test'))}: expected train, val or test"
        )
    label, plane = cells.get("label", ""), cells.get("plane", "").lower()
    return Record(
        path=_normal(path),
        label=class_name(label) if label else None,
        patient=cells.get("patient_id") or None,
        part=part,
        mask=_normal(cells["mask"]) if cells.get("mask") else None,
        plane=plane if plane in PLANES else None,
        source=cells.get("source") or None,
    )


def _normal(path: str) -> str:
    """Return `a/b.png` for `./a//b.png`, so that one file has one name; `..` stays, as it may stand behind a linked folder."""
    return PurePosixPath(path).as_posix()


def _refuse_twice(rows: list[tuple[int, dict[str, str]]]) -> None:
    first: dict[str, int] = {}
    for line, cells in rows:
        path = posixpath.normpath(cells["path"])
        if path in first:
            raise RequestError(f"'{path}' is in lines {first[path]} and {line}: name each picture once")
        first[path] = line


def _refuse_missing(root: Path, records: list[Record], *, lines: list[int]) -> None:
    named = [(line, path) for line, record in zip(lines, records, strict=True) for path in (record.path, record.mask) if path]
    missing = [(line, path) for line, path in named if not (root / path).is_file()]
    if missing:
        line, path = missing[0]
        raise RequestError(
            f"{count_of(len(missing), 'file')} missing (first: '{path}' in line {line}): "
            "paths are relative to the manifest's folder"
        )
