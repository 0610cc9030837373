"""Which pictures are audited, and what is kept of each? Its record, two hashes and a thumbnail: 10 kB a picture."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bts.audit.views import thumbnail
from bts.data.families import Group, person
from bts.data.sources.base import Record, Source
from bts.errors import InputError, RequestError
from bts.glossary import Part


@dataclass(frozen=True)
class AuditSet:
    """One source under audit.

    Attributes:
        name: how the report calls it, unique among the sets of an audit.
        source: where the pictures come from.
        parts: part by path where a split is audited; without it the publisher's own parts count.
        patients: patient by path where a split names them; without it the source's own count.
    """

    name: str
    source: Source
    parts: Mapping[str, Part] | None = None
    patients: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Picture:
    """One picture under audit: the record with the part and patient that count, and the set it belongs to."""

    set_name: str
    record: Record
    bytes_hash: str
    pixels_hash: str

    @property
    def name(self) -> str:
        """`set/path`, for tables."""
        return f"{self.set_name}/{self.record.path}"


@dataclass(frozen=True, eq=False)
class Collection:
    """All pictures of an audit, in the order of the sets.

    Attributes:
        pictures: N of them.
        thumbs: (N, THUMB_SIDE, THUMB_SIDE) uint8.
        failed: one line for each picture that can't be read.
    """

    pictures: tuple[Picture, ...]
    thumbs: np.ndarray
    failed: tuple[str, ...] = ()

    def people(self, group: Group) -> list[str | None]:
        """Return who is on each picture, as a key that is equal for one person within a set; None where nobody knows."""
        return [
            f"{picture.set_name}:{person(picture.record.patient, group)}" if picture.record.patient else None
            for picture in self.pictures
        ]


def collect(sets: Sequence[AuditSet], *, progress: Callable[[int, int], None] | None = None) -> Collection:
    """Read every picture of the sets once.

    Raises:
        RequestError: two sets of one name, a split that names a slice the source hasn't, or nothing readable at all.
    """
    names = [each.name for each in sets]
    if len(set(names)) < len(names):
        raise RequestError(f"two sets of one name among {', '.join(names)}: give each its own")
    work = [(each, record) for each in sets for record in records_of(each)]
    pictures, thumbs, failed = [], [], []
    for done, (each, record) in enumerate(work, start=1):
        try:
            picture, thumb = _read(each, record)
        except InputError as error:
            failed.append(str(error.at(record.path)))
        else:
            pictures.append(picture)
            thumbs.append(thumb)
        if progress:
            progress(done, len(work))
    if not pictures:
        raise RequestError(f"no picture can be read, the first: {failed[0]}" if failed else "there is no picture to audit")
    return Collection(pictures=tuple(pictures), thumbs=np.stack(thumbs), failed=tuple(failed))


def records_of(each: AuditSet) -> list[Record]:
    """Return the records of a set with the parts and patients that count; what a split leaves out stands in no part."""
    records = each.source.records()
    unknown = sorted({*(each.parts or {}), *(each.patients or {})} - {record.path for record in records})
    if unknown:
        raise RequestError(
            f"{each.name}: {len(unknown)} slices of the split are not in the data (first: {unknown[0]}): name them relative to "
            f"{each.source.root}"
        )
    if each.parts is not None:
        records = [replace(record, part=each.parts.get(record.path)) for record in records]
    if each.patients:
        records = [replace(record, patient=each.patients.get(record.path) or record.patient) for record in records]
    return records


def _read(each: AuditSet, record: Record) -> tuple[Picture, np.ndarray]:
    image = each.source.read(replace(record, mask=None)).image
    pixels = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()[:32]
    file = Path(each.source.root) / record.path
    content = hashlib.sha256(file.read_bytes()).hexdigest()[:32] if file.is_file() else pixels
    return Picture(set_name=each.name, record=record, bytes_hash=content, pixels_hash=pixels), thumbnail(image)
