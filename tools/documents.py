"""Generated blocks of documents: filled between markers, optionally keeping rows and sections of earlier runs.

Run folders are large and stay where they were trained, so a document may hold results whose runs are not at hand.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from bts.errors import RequestError
from bts.evaluation.results import POOLED

NOT_MEASURED = "not measured yet"


def markers(name: str) -> tuple[str, str]:
    """Return the two lines of a document that enclose a block."""
    return f"<!-- {name}:begin -->", f"<!-- {name}:end -->"


def has_block(path: Path, name: str) -> bool:
    """Return whether a document has the markers of a block."""
    return path.is_file() and all(each in path.read_text(encoding="utf-8") for each in markers(name))


def read_block(path: Path, name: str) -> str:
    """Return the block between the markers; empty where the document has none."""
    if not has_block(path, name):
        return ""
    start, stop = markers(name)
    return path.read_text(encoding="utf-8").partition(start)[2].partition(stop)[0].strip()


def read_text(path: Path, *, name: str) -> str:
    """Return the block between the markers, or the whole text of a file without them."""
    try:
        return read_block(path, name) or path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(
            f"{path}: can't be read as text ({error}): name the file that `python -m tools {name}` wrote"
        ) from None


def write_block(path: Path, block: str, name: str) -> None:
    """Write a block between its markers; raise `RequestError` where the document or the markers are missing."""
    start, stop = markers(name)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RequestError(f"{path}: can't be read ({error.strerror}): name the document to write into") from None
    before, begin, rest = text.partition(start)
    _, end, after = rest.partition(stop)
    if not begin or not end:
        raise RequestError(f"{path}: expected the lines `{start}` and `{stop}` around the block")
    path.write_text(f"{before}{start}\n{block}\n{stop}{after}", encoding="utf-8")


def write_table(path: Path | None, text: str, name: str) -> None:
    """Write a block into a document, or into a new file with its markers; None writes nothing. Raises as `write_block`.

    A document without the markers is never overwritten.
    """
    if path is None:
        return
    if not path.exists():
        path.write_text("\n".join(markers(name)) + "\n", encoding="utf-8")
    write_block(path, text, name)


def keep_sections(before: str, now: str) -> str:
    """Return the sections of `now`, then those of `before` with other titles.

    >>> keep_sections("### a\\n\\nold\\n\\n### b\\n\\nstays", "### a\\n\\nnew")
    '### a\\n\\nnew\\n\\n### b\\n\\nstays'
    """
    fresh = _sections(now)
    titles = {_title(each) for each in fresh}
    return "\n\n".join([*fresh, *(each for each in _sections(before) if _title(each) not in titles)])


def keep_lines(before: str, now: str, *, measured: Collection[str] = ()) -> str:
    """Return a table whose rows without a measurement are those of before, matched by their first cell.

    A row of pooled folds also stays where only a single split was measured now.

    Args:
        before: the existing table.
        now: the table from the runs at hand.
        measured: first cells of the rows that were measured now, including those that lack one score.

    >>> keep_lines("| a | 0.5 |\\n| b | 0.7 |", "| a | 0.6 |\\n| b | not measured yet |")
    '| a | 0.6 |\\n| b | 0.7 |'
    """
    known = {_first_cell(line): line for line in before.splitlines()}

    def choose(line: str) -> str:
        old = known.get(_first_cell(line))
        if old is None:
            return line
        if NOT_MEASURED in line and _first_cell(line) not in measured:
            return old
        return old if POOLED in old and POOLED not in line else line

    return "\n".join(map(choose, now.splitlines()))


def _sections(block: str) -> list[str]:
    return [each.strip() for each in re.split(r"(?m)^(?=### )", block) if each.strip()]


def _title(section: str) -> str:
    return section.partition("\n")[0]


def _first_cell(line: str) -> str:
    return line.strip("| ").partition("|")[0].strip()
