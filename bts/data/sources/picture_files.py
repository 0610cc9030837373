"""Picture files of a folder, and the slice that a picture and its mask make."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from bts.data.readers.catalogue import SUFFIXES, read_slice
from bts.data.readers.picture import open_picture
from bts.data.slice import Slice
from bts.data.sources.base import Record
from bts.errors import InputError, RequestError

MASK_THRESHOLD = 127
"""A mask pixel counts above this; masks stored as JPEG hold 0-15 and 240-255 (BRISC)."""


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts `2.png` before `10.png`.

    >>> sorted(["10.png", "2.png", "a.png"], key=natural_key)
    ['2.png', '10.png', 'a.png']
    """
    pieces = re.findall(r"\d+|\D+", text)
    return [(0, int(piece), "") if piece.isdecimal() else (1, 0, piece) for piece in pieces]


def pictures_in(folder: Path) -> list[Path]:
    """Return the readable files of a folder in natural order; hidden files and other kinds (a README) are none."""
    files = [file for file in folder.iterdir() if file.is_file() and not file.name.startswith(".")]
    return sorted((file for file in files if file.name.lower().endswith(SUFFIXES)), key=lambda file: natural_key(file.name))


def folders_in(folder: Path) -> list[Path]:
    """Return the visible folders of a folder in natural order."""
    there = [each for each in folder.iterdir() if each.is_dir() and not each.name.startswith((".", "__"))]
    return sorted(there, key=lambda each: natural_key(each.name))


def refuse_missing(root: Path) -> None:
    """Raise `RequestError` where the folder of data is not there."""
    if not root.is_dir():
        raise RequestError(f"{root}: no such folder of data: check the path, or name the folder with --data.root")


def read_record(root: Path, record: Record, *, source: str, empty_mask: bool = False) -> Slice:
    """Return the slice of a record with what the record knows of it; a mask that the picture's own file holds (`.mat`) is kept.

    Args:
        root: folder that the record's paths are relative to.
        record: what to read.
        source: name of the source.
        empty_mask: a record without a mask file is known to have nothing to outline (a healthy slice).

    Raises:
        InputError: picture or mask missing or unusable, its path in front.
    """
    path = root / record.path
    found = read_slice(path)
    mask = found.mask
    if record.mask is not None:
        mask = read_mask(root / record.mask)
    elif mask is None and empty_mask:
        mask = np.zeros(found.image.shape, bool)
    try:
        return replace(
            found, source=source, path=str(path), label=record.label, patient=record.patient or found.patient, mask=mask
        )
    except InputError as error:
        raise error.at(path) from error


def read_mask(path: Path) -> np.ndarray:
    """Return a mask picture as (H, W) bool.

    Grey masks count above `MASK_THRESHOLD` (16 bits: above half of the range), masks of 0 and 1 where they are 1, masks with a
    palette where the index is not 0. An empty mask is a mask.

    Raises:
        InputError: missing or no picture, with the path in front.
    """
    try:
        with open_picture(path, what="mask picture") as picture:
            values = np.asarray(
                picture if picture.mode in ("1", "L", "P", "I", "F") or "16" in picture.mode else picture.convert("L")
            )
            has_palette = picture.mode == "P"
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such mask file: correct its name or leave it out") from error
    except InputError as error:
        raise error.at(path) from error
    top = values.max(initial=0)
    if has_palette or top <= 1:
        return values > 0
    return values > (MASK_THRESHOLD if top <= 255 else 32767)
