"""CSV files without formulas.

Spreadsheets evaluate a cell that begins with = + - @ or a control character as a formula (OWASP, "CSV Injection"). Paths,
patient IDs and class names are untrusted, so every CSV file of the package is written by this module: such a
text gets an apostrophe in front, which spreadsheets show or hide and never compute, and the readers here take it away again.
The same holds behind a semicolon, which separates cells where the decimal mark is a comma. Numbers stay as they are.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    import pandas as pd

STARTERS = "=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20"
"""Characters that begin a formula, as a set of a regular expression; the last four are the full-width forms of the first."""
UNDECODED = "surrogateescape"
"""How tables of this package keep the bytes of file names that are no UTF-8: as they are."""
_FORMULA = re.compile(f"(?:^|(?<=;))(?='*[{STARTERS}])")
_MARKED = re.compile(f"(?:^|(?<=;))'(?='*[{STARTERS}])")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(inf|infinity|nan)", re.IGNORECASE)


def as_text(cell: object) -> object:
    """Return a cell such that a spreadsheet takes it for a text; what is no string, or a number, stays as it is.

    >>> as_text("=1+1"), as_text("-0.5"), as_text("'=x"), as_text("it's"), as_text(-1)
    ("'=1+1", '-0.5', "''=x", "it's", -1)
    """
    if not isinstance(cell, str) or _NUMBER.fullmatch(cell):
        return cell
    return _FORMULA.sub("'", cell)


def original(cell: Any) -> Any:
    """Return what `as_text` was given.

    >>> original("'=1+1"), original("''=x"), original("it's"), original("-0.5")
    ('=1+1', "'=x", "it's", '-0.5')
    """
    return _MARKED.sub("", cell) if isinstance(cell, str) else cell


class _Writer:
    """A `csv.writer` that escapes formulas."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def writerow(self, row: Iterable[object]) -> Any:
        return self.inner.writerow([as_text(cell) for cell in row])

    def writerows(self, rows: Iterable[Iterable[object]]) -> None:
        for row in rows:
            self.writerow(row)


class _Reader:
    """A `csv.reader` that gives the texts as they were before they were written."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __iter__(self) -> Iterator[list[str]]:
        return self

    def __next__(self) -> list[str]:
        return [original(cell) for cell in next(self.inner)]

    @property
    def line_num(self) -> int:
        """Lines read so far."""
        return int(self.inner.line_num)


def writer(file: TextIO) -> _Writer:
    """Return a writer of rows; open the file with `newline=""`."""
    return _Writer(csv.writer(file))


def dict_writer(file: TextIO, names: Sequence[str]) -> csv.DictWriter[str]:
    """Return a writer of rows by column name, an empty cell where a row has no value."""
    found = csv.DictWriter(file, names, restval="")
    found.writer = _Writer(found.writer)  # type: ignore[assignment]
    return found


def dict_reader(lines: Iterable[str]) -> csv.DictReader[str]:
    """Return a reader of rows by column name, as `csv.DictReader` gives them."""
    found = csv.DictReader(lines)
    found.reader = _Reader(found.reader)  # type: ignore[assignment]
    return found


def write_frame(frame: pd.DataFrame, path: str | Path, *, float_format: str | None = None) -> None:
    """Write a table without its index."""
    safe = frame.rename(columns=as_text)
    for number, dtype in enumerate(safe.dtypes):
        if dtype.kind not in "biufc":
            safe.isetitem(number, safe.iloc[:, number].astype(object).map(as_text))
    line_end = "\r\n"  # else a lone \r is not quoted
    safe.to_csv(path, index=False, float_format=float_format, lineterminator=line_end, errors=UNDECODED)


def make_frame(rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Return a table of rows, whose texts may hold the bytes of file names that are no UTF-8."""
    return _pandas().DataFrame(rows)


def _pandas() -> ModuleType:
    """Return pandas, which then stores texts as Python does: pyarrow's, its choice where that is installed, must be UTF-8."""
    import pandas as pd

    pd.set_option("mode.string_storage", "python")
    return pd


def read_frame(path: str | Path, *, dtype: Any = None) -> pd.DataFrame:
    """Return a table as `write_frame` was given it; raises what `pandas.read_csv` does."""
    frame = _pandas().read_csv(path, dtype=dtype, encoding_errors=UNDECODED).rename(columns=original)
    for number, kind in enumerate(frame.dtypes):
        if kind.kind not in "biufc":
            frame.isetitem(number, frame.iloc[:, number].map(original))
    return frame
