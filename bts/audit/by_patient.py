"""Who is on the pictures of a set whose publisher names nobody, and what is a split of it that parts no patient?

The patients come from the table that `bts audit ... --recover SET` writes (`recovered_*.csv`). It may lie anywhere: pictures
are told by their path below the data's own root, so the source of the recipe reads them, arrays in `.npz` files too.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bts.audit.groups import group_numbers
from bts.audit.matches import Match
from bts.data.families import Group, person
from bts.data.sources.base import Record
from bts.data.split import Split, make_split
from bts.errors import RequestError
from bts.settings import SplitSettings

INVENTED = "unknown-"
"""Beginning of the IDs that the audit invents for a group of equal pictures whose patient it can't find."""


def read_patients(table: Path) -> dict[str, str]:
    """Return the patient of each picture by path, of a CSV with `path` and `patient_id`.

    Raises:
        RequestError: with the table in front: not readable, a missing column, a picture without a patient, or named twice.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle)
            missing = [name for name in ("path", "patient_id") if name not in (reader.fieldnames or ())]
            if missing:
                raise RequestError(f"no column '{missing[0]}': name a recovered_*.csv of `bts audit ... --recover SET`")
            return _by_path((reader.line_num, cells) for cells in reader)
    except RequestError as error:
        raise error.at(table) from error
    except OSError as error:
        raise RequestError(
            f"{table}: can't be read ({error.strerror}): `bts audit ... --recover SET` writes such a table"
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise RequestError(f"{table}: no CSV in UTF-8 ({error}): name a recovered_*.csv of `bts audit`") from error


def _by_path(rows: Iterable[tuple[int, dict[str, str | None]]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line, cells in rows:
        path, patient = ((cells[name] or "").strip() for name in ("path", "patient_id"))
        if not path or not patient:
            raise RequestError(f"line {line}: expected a path and a patient_id in every line")
        if path in found:
            raise RequestError(f"line {line}: '{path}' is named twice: name each picture once")
        found[path] = patient
    return found


def with_patients(records: Sequence[Record], patients: Mapping[str, str], *, table: Path) -> list[Record]:
    """Return the records with the patients of the table; `RequestError` where it lacks one of them."""
    missing = [record.path for record in records if record.path not in patients]
    if missing:
        raise RequestError(
            f"{table}: {len(missing)} of {len(records)} pictures are not in it (first: {missing[0]}): "
            "audit the data that the recipe reads, `bts audit figshare:FOLDER SOURCE:FOLDER --recover figshare`"
        )
    return [replace(record, patient=patients[record.path]) for record in records]


def published_split(records: Sequence[Record], settings: SplitSettings) -> Split:
    """Return the split by the publisher's own parts; `RequestError` where the recipe doesn't ask for it."""
    if settings.kind != "published":
        raise RequestError(
            f"split.kind {settings.kind}: --by-patient compares the publisher's own parts with a split by patient: "
            "add --split.kind published, or leave --by-patient out"
        )
    return make_split(list(records), settings)[0]


def draw_like(published: Split, records: Sequence[Record], settings: SplitSettings) -> tuple[Split, list[str]]:
    """Return a split by patient whose parts are as large as those of the published one, and lines for the log.

    Equal parts, so that the two scores differ by who is in them and not by how many slices taught. The parts are drawn by
    slices and patients of each class (`bts.data.split_drawing`), so they match within a patient or so.
    """
    train, val = (len(published.part(part)) / len(published.rows) for part in ("train", "val"))
    return make_split(list(records), replace(settings, kind="ratios", train=train, val=val, file=None))


def keep_drawn(
    path: Path,
    published: Split,
    records: Sequence[Record],
    settings: SplitSettings,
    *,
    table: Path,
    copies: Callable[[], Iterable[tuple[str, str]]],
) -> tuple[Split, list[str]]:
    """Return the split by patient in a file, drawn at the first call; `RequestError` where it was drawn of another table.

    `copies` gives the pairs of paths that show one picture. The table may name two patients for them, as it was made by
    another comparison, of more sets: they count as one, or the split would leak.
    """
    if not path.is_file():
        merged, count = merge_copies(records, copies(), group=settings.group)
        split, lines = draw_like(published, merged, settings)
        split.write(path)
        told = [f"{count} patients of {table} share a picture with another and count as one with it"] if count else []
        return split, [*told, *lines]
    split = Split.read(path, group=settings.group)
    drawn = {row.path: row.patient for row in split.rows}
    pairs = {(record.patient, drawn.get(record.path)) for record in records}
    parted = len(pairs) > len({patient for patient, _ in pairs})  # a patient of the table under two names
    if parted or len(drawn) != len(records) or any(name is None for _, name in pairs):
        raise RequestError(f"{path}: was drawn of another table than {table}: name another folder with --out")
    return split, [f"split {split.fingerprint}: kept from an earlier call"]


def merge_copies(records: Sequence[Record], copies: Iterable[tuple[str, str]], *, group: Group) -> tuple[list[Record], int]:
    """Return the records with one patient for all who share a picture, in a chain, and how many patients that makes fewer.

    >>> one, other = Record("1", patient="a"), Record("2", patient="b")
    >>> [record.patient for record in merge_copies([one, other], [("1", "2")], group="exact")[0]]
    ['a', 'a']
    """
    people = {record.path: person(str(record.patient), group) for record in records}
    names = sorted(set(people.values()), key=lambda name: (name.startswith(INVENTED), name))  # a known patient lends the name
    number = {name: place for place, name in enumerate(names)}
    pairs = [Match(number[people[one]], number[people[other]], "near") for one, other in copies]
    first = group_numbers(len(names), pairs)
    several = np.bincount(first, minlength=len(names)) > 1
    places = [int(first[number[people[record.path]]]) for record in records]
    merged = [
        replace(record, patient=names[place]) if several[place] else record
        for record, place in zip(records, places, strict=True)
    ]
    return merged, len(names) - len(set(first.tolist()))


def count_people(names: Iterable[str], group: Group = "family") -> tuple[int, int]:
    """Return how many patients were recovered, and how many groups of copies stand for unknown ones.

    >>> count_people(["MR1", "MR1B", "unknown-0a", "unknown-0a"])
    (1, 1)
    """
    people = {person(name, group) for name in names}
    invented = sum(name.startswith(INVENTED) for name in people)
    return len(people) - invented, invented
