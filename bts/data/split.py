"""Splits into training, validation and test part, always by whole patients, and their CSV.

Neighbouring slices of one head are near copies, so a `Split` with a patient in two parts cannot be built.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from bts import csv_files
from bts.atomic import replacing
from bts.data.patient_ids import SamePatient, patient_of
from bts.data.sources.base import Record
from bts.errors import RequestError
from bts.glossary import PARTS, Part
from bts.registry import suggestion

COLUMNS = ("path", "patient", "label", "part")
ALONE = "slice "
"""Prefix, followed by the path, of the patient ID of a slice without a published patient: a patient of its own."""


@dataclass(frozen=True, order=True)
class SplitRow:
    """One slice of a split.

    Attributes:
        path: the record's path, relative to the source's root.
        patient: patient ID as in the source.
        label: class name, an empty string if unknown.
        part: `train`, `val` or `test`.
    """

    path: str
    patient: str
    label: str
    part: Part

    @property
    def known_patient(self) -> str | None:
        """The patient, or None if unknown (`ALONE`)."""
        return None if self.patient == f"{ALONE}{self.path}" else self.patient


@dataclass(frozen=True)
class Split:
    """Slices in parts, with every patient in one part only; otherwise the constructor raises `RequestError`.

    Attributes:
        rows: the slices, in the order of the source (or of the file that was read).
        same_patient: `suffixes` treats MR040240 and MR040240B as one patient, `exact` as two.
    """

    rows: tuple[SplitRow, ...]
    same_patient: SamePatient = "suffixes"

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", tuple(self.rows))
        _refuse_bad_rows(self.rows)
        _refuse_two_sides(self.rows, self.same_patient)

    def part(self, name: Part) -> list[SplitRow]:
        """Return the rows of one part, in order."""
        return [row for row in self.rows if row.part == name]

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits, equal for the same slices in the same parts in any order."""
        rows = sorted((row.path, row.patient, row.label, row.part) for row in self.rows)
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]

    def write(self, path: Path | str) -> None:
        """Write the CSV atomically; raises `RequestError` if the folder can't be written."""
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_rows(path, self.rows)
        except OSError as error:
            raise RequestError(
                f"{path}: the split can't be written ({error.strerror}): free space or choose another folder"
            ) from error

    @classmethod
    def read(cls, path: Path | str, *, same_patient: SamePatient = "suffixes") -> Split:
        """Read a CSV with the columns `path, patient, label, part`; `RequestError` with the path in front."""
        try:
            return cls(rows=tuple(_read_rows(Path(path))), same_patient=same_patient)
        except RequestError as error:
            raise error.at(path) from error


def records_of(split: Split, records: list[Record], part: Part) -> list[Record]:
    """Return the records of one part in the split's order; records without a patient get the one of the split.

    Raises KeyError if a slice of the split is not among the records.
    """
    by_path = {record.path: record for record in records}
    rows = split.part(part)
    return [replace(by_path[row.path], patient=by_path[row.path].patient or row.known_patient) for row in rows]


def _refuse_bad_rows(rows: Iterable[SplitRow]) -> None:
    seen: set[str] = set()
    for row in rows:
        if not row.patient.strip():
            raise RequestError(f"slice {row.path} has no patient: a split is made of patients, name one for every slice")
        if row.part not in PARTS:
            raise RequestError(
                f"slice {row.path} is in part '{row.part}'{suggestion(row.part, PARTS)}: choose one of {', '.join(PARTS)}"
            )
        if row.path in seen:
            raise RequestError(f"slice {row.path} is named twice: name each slice once")
        seen.add(row.path)


def _refuse_two_sides(rows: Iterable[SplitRow], same_patient: SamePatient) -> None:
    first: dict[str, SplitRow] = {}
    for row in rows:
        other = first.setdefault(patient_of(row.patient, same_patient), row)
        if other.part == row.part:
            continue
        if other.patient == row.patient:
            raise RequestError(
                f"patient {row.patient} is in {other.part} (slice {other.path}) and in {row.part} (slice {row.path}): "
                "a patient belongs to one part"
            )
        raise RequestError(
            f"patients {other.patient} ({other.part}) and {row.patient} ({row.part}) are treated as one patient, in two parts: "
            "put both in one part, or treat every ID as a patient of its own with --split.same_patient exact"
        )


def _write_rows(path: Path, rows: Iterable[SplitRow]) -> None:
    with replacing(path) as part, part.open("w", encoding="utf-8", errors=csv_files.UNDECODED, newline="") as file:
        writer = csv_files.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows((row.path, row.patient, row.label, row.part) for row in rows)


def _read_rows(path: Path) -> list[SplitRow]:
    try:
        encoding = "utf-8-sig"  # spreadsheets write a byte order mark
        with path.open(encoding=encoding, errors=csv_files.UNDECODED, newline="") as file:
            reader = csv_files.dict_reader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise RequestError(f"a split needs the columns {', '.join(COLUMNS)}; {', '.join(missing)} is missing")
            return [_row(cells, reader.line_num) for cells in reader]
    except OSError as error:
        raise RequestError(f"the split can't be read ({error.strerror}): give a CSV with {', '.join(COLUMNS)}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise RequestError(f"not a CSV file in UTF-8 ({error}): give a text file with {', '.join(COLUMNS)}") from error


def _row(cells: dict[str, str | None], line: int) -> SplitRow:
    values = [cells[name] for name in COLUMNS]
    if any(value is None for value in values):
        raise RequestError(f"line {line} has too few cells: each needs {', '.join(COLUMNS)}")
    path, patient, label, part = (str(value).strip() for value in values)
    return SplitRow(path=path, patient=patient, label=label, part=part)  # type: ignore[arg-type]
