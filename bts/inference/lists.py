"""Lists of inputs: a text file with one path per line, or a CSV file with a column `path`, relative to the list's folder."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

from bts.csv_files import UNDECODED, dict_reader
from bts.data.object_store import Address, is_address
from bts.data.readers.catalogue import is_scan
from bts.errors import RequestError

TEXT, TABLE = ".txt", ".csv"
"""Suffixes of lists; DICOM under such a name is a scan."""
COLUMN = "path"
MAX_LINES = 2_000_000
MAX_BYTES = 2**29


def is_list(path: Path) -> bool:
    """Return whether a named file is a list."""
    return path.suffix.lower() in (TEXT, TABLE) and path.is_file() and not is_scan(path)


def read_list(path: Path) -> list[Path]:
    """Return the paths of a list in order; they need not exist. Blank lines, and blanks around a path, are left out.

    Raises:
        RequestError: a file that can't be read, is no text, is too large, or names no path.
    """
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise RequestError(f"{path}: {size:,} bytes, a list has at most {MAX_BYTES:,}: split it")
        with path.open(encoding="utf-8-sig", errors=UNDECODED, newline="" if path.suffix.lower() == TABLE else None) as file:
            lines = _checked(file, path)
            cells = lines if path.suffix.lower() == TEXT else _column(lines, path)
            texts = [text for cell in cells if (text := cell.strip())]
    except OSError as error:
        raise RequestError(f"{path}: can't be read ({error.strerror or error})") from error
    if not texts:
        raise RequestError(f"{path}: a list without a path: write one per line")
    return [Address(text) if is_address(text) else path.parent / text for text in texts]


def _checked(lines: Iterable[str], path: Path) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        if "\0" in line:
            raise RequestError(f"{path}: line {number} holds a NUL byte, expected paths: save the list as UTF-8 text")
        if number > MAX_LINES:
            raise RequestError(f"{path}: more than {MAX_LINES:,} lines: split the list")
        yield line


def _column(lines: Iterator[str], path: Path) -> Iterator[str]:
    table = dict_reader(lines)
    try:
        if COLUMN not in (table.fieldnames or ()):
            raise RequestError(f"{path}: expected a column '{COLUMN}', found {', '.join(table.fieldnames or ()) or 'nothing'}")
        yield from (row[COLUMN] or "" for row in table)
    except csv.Error as error:
        raise RequestError(f"{path}: not a readable table ({error})") from error
