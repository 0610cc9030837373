"""One manifest of several sets: tumour slices with patients, and healthy slices with recovered or invented ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from bts.audit.patients import invent_patients
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
    """Return the rows of one manifest: all slices of some sets, and only the healthy slices of others.

    A healthy slice without a patient shares an invented ID with similar ones. A slice with a tumour must have a patient:
    neighbouring slices of a head look different, so similarity does not keep them together. Public sets copy from each other:
    a copy of, or an image similar to, an image of an earlier set is left out.

    Args:
        whole: sets of which every slice is taken.
        healthy: sets of which only slices of class `no_tumour` are taken.
        folder: folder of the manifest.
        progress: called with (done, total) while healthy images are read.

    Raises:
        RequestError: a tumour slice without a patient, a set without healthy slices, or an image in two sets.
        InputError: an unreadable image.
    """
    taken = [
        *(replace(each, chosen=each.source.records()) for each in whole),
        *(replace(each, chosen=_healthy(each.source)) for each in healthy),
    ]
    for each in taken:
        _refuse_no_patient(each)
    _refuse_duplicates(taken)
    unnamed = [replace(each, chosen=[record for record in _chosen(each) if not record.patient]) for each in taken]
    patients: list[dict[str, str]] = [{} for _ in taken]
    if any(each.chosen for each in unnamed):
        patients = invent_patients(unnamed, progress=progress)
    rows: list[Row] = []
    before: set[str] = set()
    for each, known in zip(taken, patients, strict=True):
        new = [record for record in _chosen(each) if known.get(record.path) not in before]
        rows += manifest_rows(each.source, new, folder=folder, patients=known, name=each.name)
        before.update(known.values())
    return [row | {"split": ""} for row in rows]  # the publishers' parts were drawn by slice


def _chosen(each: AuditSet) -> Sequence[Record]:
    return each.chosen or ()


def _healthy(source: Source) -> list[Record]:
    found = [record for record in source.records() if record.label == NO_TUMOUR]
    if not found:
        raise RequestError(f"{source.root}: no slice of class {NO_TUMOUR} in it: name a set with healthy slices")
    return found


def _refuse_no_patient(each: AuditSet) -> None:
    missing = [record.path for record in _chosen(each) if not record.patient and record.label != NO_TUMOUR]
    if missing:
        raise RequestError(
            f"{each.source.root}: {len(missing)} slices with a tumour have no patient (first: {missing[0]}): "
            "take a set with patients, or only its healthy slices (--healthy)"
        )


def _refuse_duplicates(taken: Sequence[AuditSet]) -> None:
    seen: set[Path] = set()
    for each in taken:
        for record in _chosen(each):
            path = (each.source.root / record.path).resolve()
            if path in seen:
                raise RequestError(f"{path} is in two of the sets: name each set once")
            seen.add(path)
