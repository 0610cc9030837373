"""Splits into training, validation and test parts, always by whole patients: neighbouring slices of one head are near copies.

Import splits from here; `split_table` holds the type, `split_kinds` the kinds of splits, `split_drawing` the random draw.
"""

from __future__ import annotations

from dataclasses import replace

from bts.data.families import person
from bts.data.sources.base import Record
from bts.data.split_kinds import kinds
from bts.data.split_table import Split, SplitRow
from bts.errors import RequestError
from bts.fields import problems
from bts.glossary import PARTS, Part
from bts.settings import SplitSettings

__all__ = ["Split", "SplitRow", "make_split", "records_of"]

SAYS_NOTHING = "scores of that class say nothing there"


def records_of(split: Split, records: list[Record], part: Part) -> list[Record]:
    """Return the records of one part in the split's order; where a record has no patient, with the one the split names.

    KeyError where the split names a slice that is not among the records.
    """
    by_path = {record.path: record for record in records}
    rows = split.part(part)
    return [replace(by_path[row.path], patient=by_path[row.path].patient or row.known_patient) for row in rows]


def make_split(records: list[Record], settings: SplitSettings) -> tuple[Split, list[str]]:
    """Return the split that the settings ask for, and lines for the log.

    The lines name slices that are left out and classes that a part lacks. Equal records and settings give the same split on
    every machine.

    Raises:
        RequestError: the records or the settings do not allow a split.
    """
    if not records:
        raise RequestError("there is no slice to split: check the data folder (--data.root)")
    if found := problems(settings, "split."):
        raise RequestError("; ".join(found))
    rows, lines = kinds[settings.kind](records, settings)
    split = Split(rows=tuple(rows), group=settings.group)
    return split, [_counts(split), *lines, *_missing_classes(split)]


def _counts(split: Split) -> str:
    texts = []
    for part in PARTS:
        rows = split.part(part)
        patients = len({person(row.patient, split.group) for row in rows})
        texts.append(f"{part} {len(rows)} slices of {patients} patients")
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
