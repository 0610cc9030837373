"""What of a document's tables stays when only some runs are at hand? Sections and lines of runs that are not named again.

Run folders are large and stay where they were trained; the document outlives them.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from bts.evaluation.finished import POOLED

NOT_YET = "not measured yet"


def keep_sections(before: str, now: str) -> str:
    """Return the sections of `now`, then those of `before` under other titles, in their order.

    >>> keep_sections("### a\\n\\nold\\n\\n### b\\n\\nstays", "### a\\n\\nnew")
    '### a\\n\\nnew\\n\\n### b\\n\\nstays'
    """
    fresh = _sections(now)
    titles = {_title(each) for each in fresh}
    return "\n\n".join([*fresh, *(each for each in _sections(before) if _title(each) not in titles)])


def keep_lines(before: str, now: str, *, measured: Collection[str] = ()) -> str:
    """Return a table whose lines that were not measured now are those of before, told by their first cell.

    A line of pooled folds also stays where now only a single split was measured. The last cell is of now, where it says
    something: it holds words on the line, not a measurement.

    Args:
        before: the table as it stands.
        now: the table as it would be of what is at hand.
        measured: first cells of the lines that were measured now, also those of which one score is missing.

    >>> keep_lines("| a | 0.5 | old |\\n| b | 0.7 | old |", "| a | 0.6 | new |\\n| b | not measured yet | new |")
    '| a | 0.6 | new |\\n| b | 0.7 | new |'
    """
    known = {_first_cell(line): line for line in before.splitlines()}
    return "\n".join(
        _kept_or_new(known.get(_first_cell(line)), line, measured=_first_cell(line) in measured) for line in now.splitlines()
    )


def keep_rows(before: str, now: str) -> str:
    """Return a table with the rows of now and those of before that have another first cell, in the order of first cells.

    >>> keep_rows("| t |\\n|---|\\n| b | old |\\n| a | old |", "| t |\\n|---|\\n| b | new |")
    '| t |\\n|---|\\n| a | old |\\n| b | new |'
    """
    head, rows = now.splitlines()[:2], [*before.splitlines()[2:], *now.splitlines()[2:]]
    return "\n".join([*head, *(row for _, row in sorted({_first_cell(row): row for row in rows}.items()))])


def _kept_or_new(before: str | None, now: str, *, measured: bool) -> str:
    if before is None:
        return now
    if NOT_YET in now and not measured:
        return _with_last_cell(before, now)
    return before if POOLED in before and POOLED not in now else now


def _with_last_cell(before: str, now: str) -> str:
    *kept, old = before.strip("| ").split(" | ")
    new = now.strip("| ").rpartition(" | ")[2]
    return f"| {' | '.join([*kept, old if new in (NOT_YET, '–') else new])} |"


def _sections(block: str) -> list[str]:
    return [each.strip() for each in re.split(r"(?m)^(?=### )", block) if each.strip()]


def _title(section: str) -> str:
    return section.partition("\n")[0]


def _first_cell(line: str) -> str:
    return line.strip("| ").partition("|")[0].strip()
