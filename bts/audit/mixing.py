"""One manifest of several sets: tumour slices with patients, and healthy slices with recovered or invented ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bts.audit.exclusions import TABLE, exclusion_reason
from bts.audit.findings import ALIKE
from bts.audit.images import AuditSet, collect
from bts.audit.matches import find_matches, group_numbers
from bts.audit.patients import INVENTED, invent_patients, invented_id
from bts.audit.views import thumbnail
from bts.data.sources.base import Record, Source
from bts.data.sources.manifest_table import Row, manifest_rows
from bts.errors import InputError, RequestError
from bts.glossary import NO_TUMOUR, count_of

FOLDS = (1, 2)
"""Folds of the groups of new tumour slices."""


@dataclass(frozen=True)
class Mixture:
    """Rows of a manifest of several sets.

    Attributes:
        rows: the manifest.
        held_out: slices with a tumour that the manifest leaves out, for an evaluation elsewhere.
        excluded: number of healthy slices left out by reason (`bts.audit.exclusions`).
    """

    rows: list[Row]
    held_out: list[Row]
    excluded: Counter[str]


def mix(
    whole: Sequence[AuditSet],
    healthy: Sequence[AuditSet] = (),
    tumours: Sequence[AuditSet] = (),
    *,
    folder: Path,
    hold_out: int | None = None,
    exclusions: Path = TABLE,
) -> Mixture:
    """Return one manifest: all slices of some sets, the healthy slices of others, and the new tumour slices of others.

    A healthy slice without a patient shares an invented ID with similar ones. A slice with a tumour of `whole` must have a
    patient: neighbouring slices of a head look different, so similarity does not keep them together. Public sets copy from each
    other: a copy of, or an image similar to, an image of an earlier set is left out. Healthy slices that are known not to be
    healthy T1-weighted MRI are left out too.

    Args:
        whole: sets of which every slice is taken.
        healthy: sets of which only slices of class `no_tumour` are taken.
        tumours: sets of which only slices with a tumour are taken that are copies of none in `whole`, each once, with an
            invented ID for each group of similar ones.
        folder: folder of the manifest.
        hold_out: fold, 1 or 2, of those groups that is held out; None holds out nothing.
        exclusions: table of the healthy slices that are left out.

    Raises:
        RequestError: a tumour slice of `whole` without a patient, a set without healthy slices or without tumours, an image in
            two sets, or a fold that does not exist.
        InputError: an unreadable image.
    """
    if hold_out not in (None, *FOLDS):
        raise RequestError(f"fold {hold_out} of the tumours to hold out: expected {' or '.join(map(str, FOLDS))}")
    excluded: Counter[str] = Counter()
    taken = [
        *(replace(each, chosen=each.source.records()) for each in whole),
        *(replace(each, chosen=_healthy(each.source, exclusions, excluded)) for each in healthy),
    ]
    for each in taken:
        _refuse_no_patient(each)
    wanted = [replace(each, chosen=_with_tumour(each.source)) for each in tumours]
    _refuse_duplicates([*taken, *wanted])
    unnamed = [replace(each, chosen=[record for record in _chosen(each) if not record.patient]) for each in taken]
    patients: list[dict[str, str]] = [{} for _ in taken]
    if any(each.chosen for each in unnamed):
        patients = invent_patients(unnamed)
    rows: list[Row] = []
    before: set[str] = set()
    for each, known in zip(taken, patients, strict=True):
        new = [record for record in _chosen(each) if known.get(record.path) not in before]
        rows += manifest_rows(each.source.root, new, folder=folder, patients=known, name=each.name)
        before.update(known.values())
    more: list[Row] = []
    for each in new_tumours(taken[: len(whole)], wanted):
        more += manifest_rows(each.source.root, _chosen(each), folder=folder, patients=each.patients, name=each.name)
    folds = two_folds(more)
    held_out = [row for row in more if hold_out and folds.get(row["patient_id"]) == hold_out]
    rows += [row for row in more if row not in held_out]
    blank = {"split": ""}  # the publishers' parts were drawn by slice
    return Mixture([row | blank for row in rows], [row | blank for row in held_out], excluded)


def new_tumours(known: Sequence[AuditSet], others: Sequence[AuditSet]) -> list[AuditSet]:
    """Return the other sets with the slices chosen that are copies of none in the known sets, each once, and with patients.

    Of the copies of one slice the first with a mask is taken; copies whose classes differ are all left out. The patient is the
    known one of a similar slice, or one invented for each group of similar slices, also in chains.

    Raises:
        InputError: an unreadable image.
    """
    if not others:
        return []
    sets = [*known, *others]
    collection = collect([replace(each, name=str(i)) for i, each in enumerate(sets)])
    if collection.failed:
        raise InputError(f"{count_of(len(collection.failed), 'image')} can't be read, the first: {collection.failed[0]}")
    matches = find_matches(collection)
    alike = [*matches.found, *(match for match in matches.rejected if match.score >= ALIKE)]
    copies = group_numbers(len(collection.images), matches.found).tolist()
    groups = group_numbers(len(collection.images), alike).tolist()
    labels: dict[int, set[str | None]] = {}
    patient: dict[int, str] = {}
    used: set[int] = set()
    for image, copy, group in zip(collection.images, copies, groups, strict=True):
        labels.setdefault(copy, set()).add(image.record.label)
        if int(image.set_name) < len(known):
            used.add(copy)
            patient.setdefault(group, image.record.patient or invented_id(image.pixels_hash))
    chosen: list[list[Record]] = [[] for _ in others]
    patients: list[dict[str, str]] = [{} for _ in others]
    new = [i for i, image in enumerate(collection.images) if int(image.set_name) >= len(known)]
    for i in sorted(new, key=lambda i: collection.images[i].record.mask is None):  # stable: otherwise in the order of the sets
        image, copy, group = collection.images[i], copies[i], groups[i]
        if copy in used or len(labels[copy]) > 1:
            continue
        used.add(copy)
        which = int(image.set_name) - len(known)
        chosen[which].append(image.record)
        patients[which][image.record.path] = patient.setdefault(group, invented_id(image.pixels_hash))
    return [replace(each, chosen=some, patients=own) for each, some, own in zip(others, chosen, patients, strict=True)]


def two_folds(rows: Sequence[Row]) -> dict[str, int]:
    """Return the fold, 1 or 2, of each invented patient, with the slices of each class spread evenly.

    A patient that another set knows is in neither: its other slices are trained on.
    """
    slices = Counter((row["patient_id"], row["label"]) for row in rows if row["patient_id"].startswith(INVENTED))
    filled: Counter[tuple[str, int]] = Counter()
    folds: dict[str, int] = {}
    for (patient, label), count in sorted(slices.items(), key=lambda item: (-item[1], item[0])):
        fold = folds.setdefault(patient, min(FOLDS, key=lambda fold, label=label: filled[label, fold]))  # type: ignore[misc]
        filled[label, fold] += count
    return folds


def _chosen(each: AuditSet) -> Sequence[Record]:
    return each.chosen or ()


def _healthy(source: Source, exclusions: Path, excluded: Counter[str]) -> list[Record]:
    """Return the healthy records, and count those that the table of exclusions leaves out."""
    found = [record for record in source.records() if record.label == NO_TUMOUR]
    if not found:
        raise RequestError(f"{source.root}: no slice of class {NO_TUMOUR} in it: expected a set with healthy slices")
    kept = []
    for record in found:
        reason = exclusion_reason(thumbnail(source.read(replace(record, mask=None)).image), table=exclusions)
        if reason is None:
            kept.append(record)
        else:
            excluded[reason] += 1
    return kept


def _with_tumour(source: Source) -> list[Record]:
    found = [record for record in source.records() if record.label not in (None, NO_TUMOUR)]
    if not found:
        raise RequestError(f"{source.root}: no slice with a tumour in it: expected a set with tumours")
    return found


def _refuse_no_patient(each: AuditSet) -> None:
    missing = [record.path for record in _chosen(each) if not record.patient and record.label != NO_TUMOUR]
    if missing:
        raise RequestError(
            f"{each.source.root}: {count_of(len(missing), 'slice')} with a tumour, but without a patient "
            f"(first: {missing[0]}): take a set with patients, or only its healthy slices (--healthy)"
        )


def _refuse_duplicates(taken: Sequence[AuditSet]) -> None:
    seen: set[Path] = set()
    for each in taken:
        for record in _chosen(each):
            path = (each.source.root / record.path).resolve()
            if path in seen:
                raise RequestError(f"{path} is in two of the sets: name each set once")
            seen.add(path)
