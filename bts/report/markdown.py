"""Markdown tables; texts are escaped, scores and trusted Markdown are not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from bts.evaluation.intervals import Interval
from bts.markdown import escape

_NUMBERS = re.compile(r"\d[\d.,% a-z]*")
"""Numbers with plain words, which need no escaping: `0.341`, `1 of 4`, `0.307 to 0.396`."""


class Raw(str):
    """Trusted Markdown."""


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Interval):
        return value.text()
    return str(value) if isinstance(value, Raw) or _NUMBERS.fullmatch(str(value)) else escape(value)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; an interval is shown as value and range, None as an empty cell.

    >>> print(table(["a", "b"], [("x|y", None)]))
    | a | b |
    |---|---|
    | x&#124;y |  |
    """
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(_cell(value) for value in row)} |" for row in rows)])
