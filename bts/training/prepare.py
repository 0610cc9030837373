"""Data of a training: source, split, and the training and validation slices in memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bts.data.arrays import Arrays, load_arrays
from bts.data.cache import SliceCache
from bts.data.mask_checks import refuse_unusable_masks
from bts.data.patient_ids import SamePatient, patient_of
from bts.data.preprocess import Preprocessing
from bts.data.sources.base import Record, Source
from bts.data.sources.catalogue import open_source
from bts.data.split import Split, records_of
from bts.data.split_making import make_split
from bts.errors import InputError, RequestError
from bts.glossary import Part, Task, count_of
from bts.progress import counted, phase
from bts.runs import Run
from bts.settings import Settings
from bts.training.device import is_first

log = logging.getLogger("bts.training")

TASK_BY_TRUTH: dict[str, Task] = {"mask": "seg", "label": "cls"}
"""Truth of a slice -> the task that needs only this truth."""


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Data of a training; the test part is not read."""

    source: Source
    split: Split
    preprocessing: Preprocessing
    train: Arrays
    val: Arrays


def prepare(settings: Settings, task: Task, run: Run, *, check: Callable[[Source, Split], None] | None = None) -> TrainingData:
    """Open the source, split it (a resumed run keeps its split), check the split, and read training and validation slices."""
    source, records = open_data(settings)
    split = _split(settings, records, run)
    if check is not None and is_first():  # only the first process checks
        check(source, split)
    preprocessing = Preprocessing.of(settings.data)
    cache = SliceCache(Path(settings.data.cache), settings.data.cache_gib) if settings.data.cache else None
    train, val = (
        _read_part(source, records, split, part=part, preprocessing=preprocessing, cache=cache) for part in ("train", "val")
    )
    if task != "cls":
        refuse_unusable_masks({"train": train, "val": val}, source.classes)
    train, val = _with_truth(train, "train", task), _with_truth(val, "val", task)
    _describe(train, "train", source, split)
    _describe(val, "val", source, split)
    return TrainingData(source, split, preprocessing, train, val)


def open_data(settings: Settings) -> tuple[Source, list[Record]]:
    """Return the source and its records; unreadable ones are dropped if `data.unreadable` is `skip`."""
    skip = settings.data.unreadable == "skip"
    source = open_source(settings.data.source, settings.data.root, mask_labels=settings.data.mask_labels, skip_unreadable=skip)
    with phase("listing slices"):
        records = source.records()
    return source, readable(source, records) if skip else records


def readable(source: Source, records: Sequence[Record]) -> list[Record]:
    """Return the records whose slices can be read; the others are logged. Every slice is read once.

    Raises RequestError if none is left.
    """
    kept = []
    for record in counted(records, "checking slices"):
        try:
            source.read(record)
        except InputError as error:
            log.warning(f"skipped (data.unreadable is skip): {error.at(record.path)}")
        else:
            kept.append(record)
    if records and not kept:
        raise RequestError(f"{source.root}: none of {len(records)} slices can be read: check data.source and data.root")
    if len(kept) < len(records):
        log.warning(f"{len(records) - len(kept)} of {len(records)} slices can't be read and are left out of every part")
    return kept


def _split(settings: Settings, records: list[Record], run: Run) -> Split:
    if run.split_file.is_file():
        kept = replace(settings.split, kind="file", file=str(run.split_file))
        split, lines = make_split(records, kept)
    else:
        split, lines = make_split(records, settings.split)
        if is_first():
            split.write(run.split_file)
    for line in lines:
        log.info(line)
    return split


def _read_part(
    source: Source,
    records: list[Record],
    split: Split,
    *,
    part: Part,
    preprocessing: Preprocessing,
    cache: SliceCache | None,
) -> Arrays:
    wanted = records_of(split, records, part)
    return load_arrays(source, wanted, preprocessing=preprocessing, classes=source.classes, cache=cache, part=part)


def _with_truth(arrays: Arrays, part: Part, task: Task) -> Arrays:
    """Drop slices without the truth that the task needs."""
    truths = {"mask": arrays.has_mask, "label": arrays.labels >= 0}
    needed = [name for name in truths if task in ("joint", TASK_BY_TRUTH[name])]
    for name in needed:
        if not truths[name].any():
            raise RequestError(f"none of the {len(arrays)} slices in part '{part}' has a {name}: the {task} task needs them")
    keep = np.logical_or.reduce([truths[name] for name in needed])  # the joint network trains on either
    what = " or ".join(needed)
    if keep.all():
        return arrays
    log.info(f"{part}: {count_of(int((~keep).sum()), 'slice')} without a {what} left out")
    kept = np.flatnonzero(keep)
    return Arrays(
        images=arrays.images[kept],
        masks=arrays.masks[kept],
        has_mask=arrays.has_mask[kept],
        labels=arrays.labels[kept],
        paths=[arrays.paths[i] for i in kept],
        patients=[arrays.patients[i] for i in kept],
    )


def _describe(arrays: Arrays, part: Part, source: Source, split: Split) -> None:
    counts = ", ".join(f"{int((arrays.labels == i).sum())} {name}" for i, name in enumerate(source.classes))
    log.info(f"{part}: {count_of(len(arrays), 'slice')} of {format_patients(arrays.patients, split.same_patient)} ({counts})")


def format_patients(patients: Sequence[str], same_patient: SamePatient) -> str:
    """Return the number of patients in words; some publishers name none.

    >>> format_patients(["A", "A", "B"], "exact"), format_patients(["A", ""], "exact"), format_patients(["", ""], "exact")
    ('2 patients', '1 patient and unknown ones', 'unknown patients')
    """
    known = {patient_of(patient, same_patient) for patient in patients if patient}
    if not known:
        return "unknown patients"
    return count_of(len(known), "patient") + (" and unknown ones" if not all(patients) else "")
