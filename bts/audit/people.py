"""Who is on a picture whose publisher names nobody? Pictures that look alike get one invented ID, so no split parts them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bts.audit.groups import group_numbers
from bts.audit.matches import find_matches
from bts.audit.pictures import AuditSet, collect
from bts.audit.suspects import ALIKE
from bts.data.slice import Slice
from bts.data.sources.base import Record, Source
from bts.errors import InputError


@dataclass(frozen=True, eq=False)
class Chosen:
    """A source that offers only some of its records; the audit reads it like any other."""

    source: Source
    chosen: Sequence[Record]

    @property
    def root(self) -> Path:
        """The whole source's folder."""
        return Path(self.source.root)

    def records(self) -> list[Record]:
        """Return the chosen records."""
        return list(self.chosen)

    def read(self, record: Record) -> Slice:
        """Return the slice of a record."""
        return self.source.read(record)


def invent_patients(sets: Sequence[Source], *, progress: Callable[[int, int], None] | None = None) -> list[dict[str, str]]:
    """Return for each set an ID by path, equal for pictures that are copies or alike from `ALIKE` on, in a chain, across sets.

    The IDs (`unknown-` and a hash of the pictures) keep copies and near copies together. Two slices of one person that look
    different still get two. They depend on the pictures alone, not on names or order.

    Args:
        sets: where the pictures are; every pair is compared.
        progress: called with (done, total) as the pictures are read.

    Raises:
        InputError: a picture that can't be read.
    """
    collection = collect([AuditSet(str(i), each) for i, each in enumerate(sets)], progress=progress)
    if collection.failed:
        raise InputError(f"{len(collection.failed)} pictures can't be read, the first: {collection.failed[0]}")
    matches = find_matches(collection)
    alike = [*matches.found, *(match for match in matches.rejected if match.score >= ALIKE)]
    groups = group_numbers(len(collection.pictures), alike).tolist()
    contents: dict[int, list[str]] = {}
    for group, picture in zip(groups, collection.pictures, strict=True):
        contents.setdefault(group, []).append(picture.pixels_hash)
    names = {group: f"unknown-{hashlib.sha256(min(hashes).encode()).hexdigest()[:12]}" for group, hashes in contents.items()}
    found: list[dict[str, str]] = [{} for _ in sets]
    for group, picture in zip(groups, collection.pictures, strict=True):
        found[int(picture.set_name)][picture.record.path] = names[group]
    return found
