"""Images under audit: their records, content hashes and thumbnails (about 10 kB per image)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bts.audit.views import thumbnail
from bts.data.patient_ids import SamePatient, patient_of
from bts.data.sources.base import Record, Source
from bts.errors import InputError, RequestError
from bts.glossary import Part, count_of
from bts.progress import counted


@dataclass(frozen=True)
class AuditSet:
    """One data source under audit.

    Attributes:
        name: unique among the sets of an audit.
        source: reads the images.
        parts: part by path, where a split is audited; the default is the publisher's own parts.
        patients: patient by path, where a split names them; the default is the source's own patients.
        chosen: records to audit; the default is all of the source.
    """

    name: str
    source: Source
    parts: Mapping[str, Part] | None = None
    patients: Mapping[str, str] | None = None
    chosen: Sequence[Record] | None = None


@dataclass(frozen=True)
class AuditImage:
    """One image under audit: its set, and its record with the part and patient that count."""

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
    """All images of an audit, in the order of the sets.

    Attributes:
        images: N images.
        thumbs: (N, THUMB_SIDE, THUMB_SIDE) uint8.
        failed: one line per unreadable image.
    """

    images: tuple[AuditImage, ...]
    thumbs: np.ndarray
    failed: tuple[str, ...] = ()

    @property
    def set_names(self) -> list[str]:
        """Names of the sets, in their order."""
        return list(dict.fromkeys(image.set_name for image in self.images))

    def patients(self, same_patient: SamePatient) -> list[str | None]:
        """Return a patient key for each image, unique across sets; None where the patient is unknown."""
        return [
            f"{image.set_name}:{patient_of(image.record.patient, same_patient)}" if image.record.patient else None
            for image in self.images
        ]


def collect(sets: Sequence[AuditSet]) -> Collection:
    """Read every image of the sets once.

    Raises:
        RequestError: duplicate set names, a split that names a slice that the source lacks, or no readable image.
    """
    names = [each.name for each in sets]
    if len(set(names)) < len(names):
        raise RequestError(f"duplicate set names among {', '.join(names)}: give each set its own name")
    work = [(each, record) for each in sets for record in records_of(each)]
    images, thumbs, failed = [], [], []
    for each, record in counted(work, "reading", unit="images"):
        try:
            image, thumb = _read(each, record)
        except InputError as error:
            failed.append(str(error.at(record.path)))
        else:
            images.append(image)
            thumbs.append(thumb)
    if not images:
        raise RequestError(f"no image can be read, the first: {failed[0]}" if failed else "there is no image to audit")
    return Collection(images=tuple(images), thumbs=np.stack(thumbs), failed=tuple(failed))


def records_of(each: AuditSet) -> list[Record]:
    """Return the records of a set with the parts and patients that count; slices outside a given split have no part."""
    records = each.source.records() if each.chosen is None else list(each.chosen)
    unknown = sorted({*(each.parts or {}), *(each.patients or {})} - {record.path for record in records})
    if unknown:
        raise RequestError(
            f"{each.name}: {count_of(len(unknown), 'slice')} of the split missing from the data "
            f"(first: {unknown[0]}): name them relative to {each.source.root}"
        )
    if each.parts is not None:
        records = [replace(record, part=each.parts.get(record.path)) for record in records]
    if each.patients:
        records = [replace(record, patient=each.patients.get(record.path) or record.patient) for record in records]
    return records


def _read(each: AuditSet, record: Record) -> tuple[AuditImage, np.ndarray]:
    image = each.source.read(replace(record, mask=None)).image
    pixels = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()[:32]
    file = Path(each.source.root) / record.path
    content = hashlib.sha256(file.read_bytes()).hexdigest()[:32] if file.is_file() else pixels
    return AuditImage(set_name=each.name, record=record, bytes_hash=content, pixels_hash=pixels), thumbnail(image)
