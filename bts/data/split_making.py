"""Splits as the settings ask for: ratios, folds, the author's or publisher's, or a file.

Each kind is a function registered here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from bts.data.patient_ids import SamePatient, patient_of
from bts.data.sources.base import Record
from bts.data.split import ALONE, Split, SplitRow
from bts.data.split_drawing import draw_parts
from bts.errors import RequestError
from bts.fields import problems
from bts.glossary import PARTS, Part, count_of
from bts.registry import Registry
from bts.settings import SplitSettings

CVIND = "cvind.mat from https://doi.org/10.6084/m9.figshare.1512427 (`bts download` fetches it)"

Made = tuple[list[SplitRow], list[str]]
"""Rows, and log lines on excluded slices."""
kinds: Registry[Callable[[list[Record], SplitSettings], Made]] = Registry("kind of split")
SAYS_NOTHING = "scores of that class say nothing there"


def make_split(records: list[Record], settings: SplitSettings) -> tuple[Split, list[str]]:
    """Return the split of the settings, and log lines.

    The lines name excluded slices and classes missing in a part. Equal records and settings give the same split on every
    machine.

    Raises:
        RequestError: the records or the settings do not allow a split.
    """
    if not records:
        raise RequestError("there is no slice to split: check the data folder (--data.root)")
    if found := problems(settings, "split."):
        raise RequestError("; ".join(found))
    rows, lines = kinds[settings.kind](records, settings)
    split = Split(rows=tuple(rows), same_patient=settings.same_patient)
    return split, [_counts(split), *lines, *_missing_classes(split)]


def _counts(split: Split) -> str:
    texts = []
    for part in PARTS:
        rows = split.part(part)
        patients = len({patient_of(row.patient, split.same_patient) for row in rows})
        texts.append(f"{part} {count_of(len(rows), 'slice')} of {count_of(patients, 'patient')}")
    return f"split {split.fingerprint}: " + ", ".join(texts)


def _missing_classes(split: Split) -> list[str]:
    labels = sorted({row.label for row in split.rows if row.label})
    lines = []
    for part in PARTS:
        present = {row.label for row in split.part(part)}
        absent = [label for label in labels if label not in present]
        if absent:
            what = "it is never learned, and its slices elsewhere are all wrong" if part == "train" else SAYS_NOTHING
            lines.append(f"split: warning: no patient with {', '.join(absent)} in {part}: {what}")
    return lines


@kinds.register("ratios")
def _by_ratios(records: list[Record], settings: SplitSettings) -> Made:
    shares = (settings.train, settings.val, 1.0 - settings.train - settings.val)
    drawn = _draw(records, shares, same_patient=settings.same_patient, seed=(settings.seed,))
    return [_row(record, PARTS[part]) for record, part in zip(records, drawn, strict=True)], []


@kinds.register("folds")
def _by_folds(records: list[Record], settings: SplitSettings) -> Made:
    shares = [1 / settings.folds] * settings.folds
    drawn = _draw(records, shares, same_patient=settings.same_patient, seed=(settings.seed,))
    is_test = [fold + 1 == settings.fold for fold in drawn]
    return _around_test(records, is_test, settings), []


@kinds.register("cvind")
def _by_cvind(records: list[Record], settings: SplitSettings) -> Made:
    missing = [record for record in records if record.fold is None]
    if missing:
        raise RequestError(
            f"split.kind cvind: {len(missing)} of {len(records)} slices have no fold of the author's "
            f"(first: {missing[0].path}): put {CVIND} into the data folder, or take --split.kind folds"
        )
    _refuse_no_patient(records)
    known = sorted({int(record.fold) for record in records if record.fold is not None})
    if settings.fold not in known:
        raise RequestError(f"split.fold {settings.fold}: the author's folds are {', '.join(map(str, known))}")
    tested = {_patient_of(record, settings.same_patient) for record in records if record.fold == settings.fold}
    straddling = [r for r in records if r.fold != settings.fold and _patient_of(r, settings.same_patient) in tested]
    lost = {record.path for record in straddling}
    kept = [record for record in records if record.path not in lost]
    rows = _around_test(kept, [record.fold == settings.fold for record in kept], settings)
    patients = len({_patient_of(record, settings.same_patient) for record in straddling})
    line = (
        f"split: the author's fold {settings.fold}: patients also in other folds: {patients}, "
        f"slices of theirs kept out of training and validation: {len(lost)}"
    )
    return rows, [line]


@kinds.register("published")
def _by_publisher(records: list[Record], settings: SplitSettings) -> Made:
    """Return the published parts; slices without a patient count as patients of their own, with a warning."""
    without = [record for record in records if record.part is None]
    if without:
        raise RequestError(
            f"split.kind published: {len(without)} of {len(records)} slices have no part of the publisher's "
            f"(first: {without[0].path}): take --split.kind ratios"
        )
    for part in ("train", "test"):
        if not any(record.part == part for record in records):
            raise RequestError(f"split.kind published: the publisher has no slice in part '{part}': take --split.kind ratios")
    unknown = sum(not (record.patient or "").strip() for record in records)
    known = [replace(record, patient=(record.patient or "").strip() or f"{ALONE}{record.path}") for record in records]
    lines = []
    if unknown:
        lines = [
            f"split: warning: {unknown} slices have no patient and count as patients of their own: a patient in two parts "
            "would go unnoticed, and scores on this split may be inflated"
        ]
    if any(record.part == "val" for record in known):
        return [_row(record, record.part) for record in known if record.part is not None], lines
    return _around_test(known, [record.part == "test" for record in known], replace(settings, fold=0)), lines


@kinds.register("file")
def _by_file(records: list[Record], settings: SplitSettings) -> Made:
    assert settings.file is not None  # a conflict of the settings
    try:
        return _matched(records, list(Split.read(settings.file, same_patient=settings.same_patient).rows))
    except RequestError as error:
        raise error.at(settings.file) from error


def _matched(records: list[Record], rows: list[SplitRow]) -> Made:
    by_path = {record.path: record for record in records}
    missing = [row.path for row in rows if row.path not in by_path]
    if missing:
        raise RequestError(
            f"{len(missing)} of {len(rows)} slices are not in the data (first: {missing[0]}): "
            "name them relative to the data folder (--data.root)"
        )
    for part in ("train", "val"):
        if not any(row.part == part for row in rows):
            raise RequestError(f"no slice in part '{part}': training needs train and val")
    left = len(records) - len(rows)
    lines = [f"split: {left} of {len(records)} slices of the data are not in the split file and stay unused"] if left else []
    return [_agreed(row, by_path[row.path]) for row in rows], lines


def _agreed(row: SplitRow, record: Record) -> SplitRow:
    """Return the row with the label of file and data, which must agree; an empty cell takes the data's."""
    if record.patient and record.patient.strip() != row.patient:  # reading a CSV strips its cells
        raise RequestError(
            f"slice {row.path} has patient {row.patient} here and {record.patient} in the data: correct the split"
        )
    if row.label and record.label and row.label != record.label:
        raise RequestError(f"slice {row.path} has label {row.label} here and {record.label} in the data: correct the split")
    return SplitRow(path=row.path, patient=row.patient, label=row.label or record.label or "", part=row.part)


def _around_test(records: list[Record], is_test: Sequence[bool], settings: SplitSettings) -> list[SplitRow]:
    """Return rows: the given test slices, and the others split into training and validation by patient."""
    rest = [record for record, test in zip(records, is_test, strict=True) if not test]
    shares = (1 - settings.val, settings.val)
    drawn = iter(_draw(rest, shares, same_patient=settings.same_patient, seed=(settings.seed, settings.fold)))
    return [_row(record, "test" if test else PARTS[next(drawn)]) for record, test in zip(records, is_test, strict=True)]


def _draw(records: Sequence[Record], shares: Sequence[float], *, same_patient: SamePatient, seed: tuple[int, ...]) -> list[int]:
    """Return a part number for each record, the same for all records of a patient."""
    _refuse_no_patient(records)
    patients = sorted({_patient_of(record, same_patient) for record in records})  # the draw is the same in any order of files
    if len(patients) < len(shares):
        raise RequestError(f"{len(patients)} patients can't fill {len(shares)} parts: add data or ask for fewer")
    labels = sorted({record.label or "" for record in records})
    row = {name: i for i, name in enumerate(patients)}
    column = {name: i for i, name in enumerate(labels)}
    counts = np.zeros((len(patients), len(labels)))
    np.add.at(counts, ([row[_patient_of(r, same_patient)] for r in records], [column[r.label or ""] for r in records]), 1)
    parts = draw_parts(counts, shares, seed=seed)
    return [int(parts[row[_patient_of(record, same_patient)]]) for record in records]


def _patient_of(record: Record, same_patient: SamePatient) -> str:
    return patient_of(record.patient or "", same_patient)


def _refuse_no_patient(records: Sequence[Record]) -> None:
    missing = [record.path for record in records if not (record.patient or "").strip()]
    if missing:
        raise RequestError(
            f"{len(missing)} of {len(records)} slices have no patient ID (first: {missing[0]}), and without it "
            "a patient could be in two parts: give a manifest with patient_id, or try `bts audit --recover figshare`"
        )


def _row(record: Record, part: Part) -> SplitRow:
    return SplitRow(path=record.path, patient=record.patient or "", label=record.label or "", part=part)
