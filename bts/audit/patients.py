"""Patients of images whose publisher names none: recovered from a set with patients, or invented per group of copies."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bts.audit.findings import ALIKE
from bts.audit.images import AuditSet, Collection, collect
from bts.audit.matches import Link, Match, find_matches, group_numbers, spread
from bts.csv_files import dict_reader
from bts.errors import InputError, RequestError
from bts.glossary import count_of

INVENTED = "unknown-"
"""Prefix of the IDs of groups of copies whose patient is unknown."""


def invented_id(pixels_hash: str) -> str:
    """Return the ID of a group of copies, given the pixel hash of one of them."""
    return INVENTED + hashlib.sha256(pixels_hash.encode()).hexdigest()[:12]


def find_origins(collection: Collection, matches: Iterable[Match], reference: str) -> dict[int, Link]:
    """Return the slice of the set `reference` from which each image of another set was made, by position of the image.

    An image takes the slice that it matches best; one that matches only other copies takes their slice.
    """
    starts = [i for i, image in enumerate(collection.images) if image.set_name == reference]
    return {i: link for i, link in spread(matches, starts).items() if link.steps}


def patients_of(collection: Collection, groups: np.ndarray, origins: Mapping[int, Link]) -> list[str]:
    """Return a patient per image: its own, its origin's, or one invented for its group of copies.

    Invented IDs keep the copies of an image together, but not the different slices of a patient.
    """
    patients = []
    for i, image in enumerate(collection.images):
        origin = collection.images[origins[i].start].record.patient if i in origins else None
        invented = invented_id(collection.images[int(groups[i])].pixels_hash)
        patients.append(image.record.patient or origin or invented)
    return patients


def invent_patients(sets: Sequence[AuditSet]) -> list[dict[str, str]]:
    """Return for each set an invented ID by path, shared by copies and by similar images across all sets.

    Images with a score of at least `ALIKE` are linked, also in chains. Different slices of one patient may still get different
    IDs. The IDs depend on the pixels only, not on names or order.

    Raises:
        InputError: an unreadable image.
    """
    collection = collect([replace(each, name=str(i)) for i, each in enumerate(sets)])
    if collection.failed:
        raise InputError(f"{count_of(len(collection.failed), 'image')} can't be read, the first: {collection.failed[0]}")
    matches = find_matches(collection)
    alike = [*matches.found, *(match for match in matches.rejected if match.score >= ALIKE)]
    groups = group_numbers(len(collection.images), alike).tolist()
    first: dict[int, str] = {}
    for group, image in zip(groups, collection.images, strict=True):
        first[group] = min(first.get(group, image.pixels_hash), image.pixels_hash)
    found: list[dict[str, str]] = [{} for _ in sets]
    for group, image in zip(groups, collection.images, strict=True):
        found[int(image.set_name)][image.record.path] = invented_id(first[group])
    return found


def read_rows(file: Path, columns: Sequence[str], *, remedy: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line number and stripped cells of a CSV table with unique `path` cells.

    Raises:
        RequestError: an unreadable file, a missing column, or a duplicate path; `remedy` ends the message.
    """
    seen: set[str] = set()
    try:
        with file.open(encoding="utf-8-sig", newline="") as handle:
            reader = dict_reader(handle)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise RequestError(f"{file}: no column '{missing[0]}': {remedy}")
            for row in reader:
                cells = {name: (cell or "").strip() for name, cell in row.items() if isinstance(name, str)}
                if cells["path"] in seen:
                    where = f"{file}: line {reader.line_num}"
                    raise RequestError(f"{where}: '{cells['path']}' is a duplicate: name each slice once")
                seen.add(cells["path"])
                yield reader.line_num, cells
    except OSError as error:
        raise RequestError(f"{file}: can't be read ({error.strerror}): {remedy}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise RequestError(f"{file}: not a CSV file in UTF-8 ({error}): {remedy}") from error
