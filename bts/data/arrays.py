"""All slices of a part as byte arrays in memory: 3,064 slices at 224 pixels take 0.3 GB."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bts.data.cache import Entry, SliceCache
from bts.data.preprocess import Preprocessing
from bts.data.sources.base import Record, Source
from bts.errors import BtsError, InputError, RequestError
from bts.progress import counted
from bts.registry import suggestion

UNKNOWN = -1
"""Label number of a slice of unknown class."""
MANY = 20
"""Number of unreadable slices after which reading stops, as all are probably affected."""

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Arrays:
    """N slices in memory, in the order of their records.

    Attributes:
        images: (N, S, S) uint8, row then column; the network's input is this / 255.
        masks: (N, S, S) uint8 of 0 and 1; all 0 where there is no mask.
        has_mask: (N,) bool, False for slices without a true mask.
        labels: (N,) int64, position in the classes, -1 if unknown.
        paths: the records' paths.
        patients: patient IDs, empty if unknown.
    """

    images: np.ndarray
    masks: np.ndarray
    has_mask: np.ndarray
    labels: np.ndarray
    paths: list[str]
    patients: list[str]

    def __len__(self) -> int:
        return len(self.images)


def load_arrays(
    source: Source,
    records: Sequence[Record],
    *,
    preprocessing: Preprocessing,
    classes: Sequence[str],
    cache: SliceCache | None = None,
    part: str = "slices",
) -> Arrays:
    """Read, preprocess and return the slices of `records`, which are called `part` in the progress.

    Raises `InputError` with the number of unreadable slices and the first, and `RequestError` for a label not in `classes`.
    """
    arrays = _empty(records, size=preprocessing.size, labels=_labels(records, classes))
    failures: list[BtsError] = []
    hits, misses = (cache.hits, cache.misses) if cache else (0, 0)
    for i, record in enumerate(counted(records, f"reading {part}")):
        try:
            image, mask = load_entry(source, record, preprocessing=preprocessing, cache=cache)
        except InputError as error:
            failures.append(error.at(record.path))
            if len(failures) == MANY:
                break
        else:
            arrays.images[i] = image
            if mask is not None:
                arrays.masks[i], arrays.has_mask[i] = mask, True
    if failures:
        raise _summary(failures, total=len(records))
    if cache:
        log.info("cache: %d read from disk cache, %d decoded", cache.hits - hits, cache.misses - misses)
    return arrays


def _empty(records: Sequence[Record], *, size: int, labels: np.ndarray) -> Arrays:
    shape = (len(records), size, size)
    return Arrays(
        images=np.zeros(shape, dtype=np.uint8),
        masks=np.zeros(shape, dtype=np.uint8),
        has_mask=np.zeros(len(records), dtype=bool),
        labels=labels,
        paths=[record.path for record in records],
        patients=[record.patient or "" for record in records],
    )


def _labels(records: Sequence[Record], classes: Sequence[str]) -> np.ndarray:
    number = {name: i for i, name in enumerate(classes)}
    for record in records:
        if record.label is not None and record.label not in number:
            raise RequestError(
                f"{record.path}: label '{record.label}'{suggestion(record.label, classes)} is none of the classes "
                f"{', '.join(classes)}"
            )
    values = [UNKNOWN if record.label is None else number[record.label] for record in records]
    return np.array(values, dtype=np.int64)


def load_entry(source: Source, record: Record, *, preprocessing: Preprocessing, cache: SliceCache | None) -> Entry:
    """Return image and mask from the cache, or decode and cache them."""
    files = [source.root / name for name in (record.path, record.mask) if name]
    key = (
        cache.key(files, preprocessing, reader=f"{source.name} {source.mask_labels}" if source.mask_labels else source.name)
        if cache
        else None
    )
    found = cache.get(key) if cache and key else None
    if found:
        return found
    one = source.read(record)
    image = preprocessing.image(one.image)
    box = preprocessing.box(one.image)
    mask = None if one.mask is None else preprocessing.mask(one.mask, box=box).astype(np.uint8)
    if cache and key:
        cache.put(key, image, mask)
    return image, mask


def _summary(failures: list[BtsError], *, total: int) -> InputError:
    if len(failures) == 1:
        return InputError(f"{failures[0]} (the only slice of {total} that can't be read)")
    at_least = "at least " if len(failures) == MANY else ""
    return InputError(f"{at_least}{len(failures)} of {total} slices can't be read, the first: {failures[0]}")
