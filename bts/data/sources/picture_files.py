"""Picture files of a folder, and the slice that a picture and its mask make."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from bts.data.readers.catalogue import is_scan, read_slice
from bts.data.slice import Slice
from bts.data.sources.base import Record
from bts.data.sources.mask_files import read_mask, stored_values
from bts.errors import InputError, RequestError

log = logging.getLogger("bts.data")


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts `2.png` before `10.png`.

    >>> sorted(["10.png", "2.png", "a.png"], key=natural_key)
    ['2.png', '10.png', 'a.png']
    """
    pieces = re.findall(r"\d+|\D+", text)
    return [(0, int(piece), "") if piece.isdecimal() else (1, 0, piece) for piece in pieces]


def pictures_in(folder: Path) -> list[Path]:
    """Return the scans of a folder in natural order; hidden files and other kinds (a README) are none."""
    return split_files(folder)[0]


def split_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the scans of a folder, and its other visible files, each in natural order."""
    files = [file for file in folder.iterdir() if file.is_file() and not file.name.startswith(".")]
    files.sort(key=lambda file: natural_key(file.name))
    scans: list[Path] = []
    others: list[Path] = []
    for file in files:
        (scans if is_scan(file) else others).append(file)
    return scans, others


def files_under(root: Path) -> Iterator[Path]:
    """Yield the visible files of a folder and of those in it, linked folders too, each folder once, in natural order."""
    seen: set[str] = set()
    for here, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:  # a link to a folder above it, or a second one to the same
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted((name for name in folders if not name.startswith(".")), key=natural_key)
        yield from (Path(here, name) for name in sorted(names, key=natural_key) if not name.startswith("."))


@lru_cache(maxsize=256)
def log_skipped(where: str, what: str) -> None:
    """Log what a source does not use, once for each place."""
    log.warning(f"{where}: {what}")


def folders_in(folder: Path) -> list[Path]:
    """Return the visible folders of a folder in natural order."""
    there = [each for each in folder.iterdir() if each.is_dir() and not each.name.startswith((".", "__"))]
    return sorted(there, key=lambda each: natural_key(each.name))


def refuse_missing(root: Path) -> None:
    """Raise `RequestError` where the folder of data is not there."""
    if not root.is_dir():
        raise RequestError(f"{root}: no such folder of data: check the path, or name the folder with --data.root")


def read_record(root: Path, record: Record, *, source: str, empty_mask: bool = False, mask_labels: Sequence[int] = ()) -> Slice:
    """Return the slice of a record with its metadata; a mask that the picture's own file holds (`.mat`) is kept.

    Args:
        root: folder that the record's paths are relative to.
        record: what to read.
        source: name of the source.
        empty_mask: a record without a mask file is known to have nothing to outline (a healthy slice).
        mask_labels: values that are tumour; empty for all but 0.

    Raises:
        InputError: picture or mask missing or unusable, its path in front.
    """
    path = root / record.path
    found = read_slice(path)
    mask = found.mask
    if record.mask is not None:
        mask = read_mask(root / record.mask, labels=mask_labels)
    elif mask is not None and mask_labels:
        mask = read_mask(path, labels=mask_labels)
    elif mask is None and empty_mask:
        mask = np.zeros(found.image.shape, bool)
    try:
        return replace(
            found, source=source, path=str(path), label=record.label, patient=record.patient or found.patient, mask=mask
        )
    except InputError as error:
        raise error.at(path) from error


def record_mask_values(root: Path, record: Record) -> np.ndarray | None:
    """Return the stored values of a record's mask, None where it has none; raises `InputError` with the path in front."""
    name = record.mask or (record.path if record.path.lower().endswith(".mat") else None)
    if name is None:
        return None
    try:
        return stored_values(root / name)[0]
    except InputError as error:
        raise error.at(root / name) from error
    except OSError as error:
        raise InputError(f"{root / name}: can't be read ({error.strerror or error}): check the permissions") from error
