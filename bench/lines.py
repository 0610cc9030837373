"""Lines of repeated measurements: median, spread and ratio to another line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

RATES = ("slices/s", "scans/s")
"""Units of which more is better; of all others less is."""


@dataclass(frozen=True)
class Line:
    """One thing that was measured, several times.

    Attributes:
        what: its name, unique within a benchmark.
        values: one a repetition, in `unit`.
        unit: `ms`, `s`, `MiB`, `slices/s`, `scans/s` or `share`.
        against: name of the line that the ratio is to.
        must: what the ratio must reach (at most, for a rate at least); the median itself where there is no `against`.
    """

    what: str
    values: tuple[float, ...]
    unit: str = "ms"
    against: str | None = None
    must: float | None = None

    @property
    def median(self) -> float:
        """Median of the repetitions."""
        return float(np.median(self.values))

    @property
    def quartiles(self) -> tuple[float, float]:
        """First and third quartile of the repetitions: the spread."""
        low, high = np.quantile(self.values, [0.25, 0.75])
        return float(low), float(high)


def rows(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Return each line as a row for a table or for JSON: its repetitions become median, quartiles and ratio."""
    by_name = {line.what: line for line in lines}
    if len(by_name) < len(lines):
        raise ValueError("two lines of a benchmark have one name")
    return [_row(line, by_name) for line in lines]


def _row(line: Line, by_name: dict[str, Line]) -> dict[str, Any]:
    low, high = line.quartiles
    ratio = None if line.against is None else line.median / by_name[line.against].median
    judged = line.median if ratio is None else ratio
    met = None if line.must is None else bool(judged >= line.must if line.unit in RATES else judged <= line.must)
    found = asdict(line) | {"median": line.median, "low": low, "high": high, "n": len(line.values), "ratio": ratio, "met": met}
    del found["values"]
    return found


def table(found: Sequence[dict[str, Any]]) -> str:
    """Return rows as text for a terminal.

    >>> print(table(rows([Line("plain", (4.0,)), Line("ours", (1.0,), against="plain", must=0.5)])).splitlines()[-1].split())
    ['ours', '1', '1', '..', '1', 'ms', '0.25', 'plain', '0.5', 'yes']
    """
    head = ("", "median", "quartiles", "unit", "ratio", "to", "must be", "is")
    cells = [head, *((str(row["what"]), *cells_of(row)) for row in found)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells)


def cells_of(row: dict[str, Any]) -> tuple[str, str, str, str, str, str, str]:
    """Return median, quartiles, unit, ratio, what the ratio is to, what must be reached, and whether it is."""
    ratio = "" if row["ratio"] is None else f"{row['ratio']:.3g}"
    sign = "" if row["must"] is None else f"{row['must']:.3g}"
    met = {None: "", True: "yes", False: "no"}[row["met"]]
    return (
        f"{row['median']:.4g}",
        f"{row['low']:.4g} .. {row['high']:.4g}",
        row["unit"],
        ratio,
        row["against"] or "",
        sign,
        met,
    )
