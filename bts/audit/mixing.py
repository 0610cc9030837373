"""How do tumour slices with patients and healthy slices without become one set that can be split by patient?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from bts.audit.people import Chosen, invent_patients
from bts.audit.pictures import AuditSet
from bts.data.sources.base import Record, Source
from bts.data.sources.manifest_table import Row, manifest_rows
from bts.errors import RequestError
from bts.glossary import NO_TUMOUR


def mix(
    whole: Sequence[AuditSet],
    healthy: Sequence[AuditSet],
    *,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """Return the rows of one manifest: all slices of some sources, and of others the healthy ones alone.

    A healthy slice without a patient shares an invented ID with what looks like it. A slice with a tumour must have its own:
    its neighbours in the same head look different, so no likeness keeps them together. Public sets are copied from each other:
    what is a copy of a picture of an earlier set, in whatever guise, or looks like one, is left out.

    Args:
        whole: sets of which every slice is taken.
        healthy: sets of which only slices of class `no_tumour` are taken.
        folder: where the table will lie.
        progress: called with (done, total) as healthy pictures are read.

    Raises:
        RequestError: a tumour slice without a patient, a source without healthy slices, a picture that stands in two sources.
        InputError: a picture that can't be read.
    """
    taken = [
        *((each.source, each.source.records()) for each in whole),
        *((each.source, _healthy(each.source)) for each in healthy),
    ]
    unnamed = []
    for source, records in taken:
        _refuse_no_patient(source, records)
        unnamed.append(Chosen(source, [record for record in records if not record.patient]))
    patients = _invented(unnamed, progress=progress)
    _refuse_twice([(source, record) for source, records in taken for record in records])
    rows: list[Row] = []
    before: set[str] = set()
    for (source, records), known, each in zip(taken, patients, [*whole, *healthy], strict=True):
        new = [record for record in records if known.get(record.path) not in before]
        rows += manifest_rows(source, new, folder=folder, patients=known, name=each.name)
        before.update(known.values())
    return [row | {"split": ""} for row in rows]  # the publishers' parts were drawn by slice


def _invented(unnamed: Sequence[Chosen], *, progress: Callable[[int, int], None] | None) -> list[dict[str, str]]:
    if not any(each.chosen for each in unnamed):
        return [{} for _ in unnamed]
    return invent_patients([cast(Source, each) for each in unnamed], progress=progress)


def _healthy(source: Source) -> list[Record]:
    found = [record for record in source.records() if record.label == NO_TUMOUR]
    if not found:
        raise RequestError(f"{source.root}: no slice of class {NO_TUMOUR} in it: name a set with healthy slices")
    return found


def _refuse_no_patient(source: Source, records: Sequence[Record]) -> None:
    missing = [record.path for record in records if not record.patient and record.label != NO_TUMOUR]
    if missing:
        raise RequestError(
            f"{source.root}: {len(missing)} slices with a tumour have no patient (first: {missing[0]}): "
            "take a set with patients, or only its healthy slices (--healthy)"
        )


def _refuse_twice(taken: Sequence[tuple[Source, Record]]) -> None:
    seen: set[Path] = set()
    for source, record in taken:
        path = (source.root / record.path).resolve()
        if path in seen:
            raise RequestError(f"{path} stands in two of the sets: name each set once")
        seen.add(path)
