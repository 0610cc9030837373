"""How do numbers become HTML? Small pieces: tables, cells with intervals, charts, tiles; every text is escaped here."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from bts.evaluation.intervals import Interval
from bts.report.gallery import Tile
from bts.report.report_figures import Panel

Cell = str | int | Interval | tuple[Interval | None, int] | None
"""A text, a count, a score, a score with its number of decimals, or nothing."""


def text(value: object) -> str:
    """Return a value as escaped text."""
    return html.escape(str(value))


def cell(value: Cell) -> str:
    """Return a table cell; an interval as value and range, nothing as a dash."""
    value, digits = value if isinstance(value, tuple) else (value, 3)
    if isinstance(value, Interval):
        if value.low is None or value.high is None:
            span = "one patient" if value.n_patients == 1 else "no interval"
        else:
            span = f"{value.low:.{digits}f} to {value.high:.{digits}f}"
        return f'<td class="number">{value.value:.{digits}f}<span class="range">{span}</span></td>'
    if value is None:
        return '<td class="number" title="undefined on these slices">&ndash;</td>'
    return f'<td class="number">{value}</td>' if isinstance(value, int) else f"<td>{text(value)}</td>"


def table(head: Sequence[str], rows: Iterable[Sequence[Cell]], *, caption: str = "", name: str = "") -> str:
    """Return a table; columns of numbers stand right. A table named `wide` has each range under its value."""
    body = [list(row) for row in rows]
    numeric = [any(not isinstance(row[i], str) for row in body) for i in range(len(head))]
    top = [
        f'<th class="number">{text(h)}</th>' if right else f"<th>{text(h)}</th>" for h, right in zip(head, numeric, strict=True)
    ]
    lines = ["<tr>" + "".join(cell(value) for value in row) + "</tr>" for row in body]
    note = f"<caption>{text(caption)}</caption>" if caption else ""
    kind = f' class="{name}"' if name else ""
    whole = f"{note}<thead><tr>{''.join(top)}</tr></thead><tbody>{''.join(lines)}</tbody>"
    return f'<div class="scroll"><table{kind}>{whole}</table></div>'


def charts(panels: Iterable[Panel | None], *, wide: Sequence[str] = ()) -> str:
    """Return charts side by side, each with its caption; those named in `wide` may take a whole line."""
    figures = []
    for panel in panels:
        if panel is not None:
            kind = ' class="wide"' if panel.name in wide else ""
            figures.append(f"<figure{kind}>{panel.svg}<figcaption>{text(panel.caption)}</figcaption></figure>")
    return f'<div class="charts">{"".join(figures)}</div>' if figures else ""


def tiles(found: Iterable[Tile]) -> str:
    """Return pictures of slices in a grid."""
    figures = []
    for tile in found:
        said = text(tile.caption)
        picture = f'<img src="{tile.picture}" alt="{said}" loading="lazy">'
        figures.append(f"<figure>{picture}<figcaption>{said}</figcaption></figure>")
    return f'<div class="tiles">{"".join(figures)}</div>'


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """Return names with values, as a list; values that are not known are left out."""
    shown = [(name, value) for name, value in pairs if value not in (None, "")]
    return "<dl>" + "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in shown) + "</dl>"


def section(name: str, title: str, *parts: str) -> str:
    """Return a section with its heading, or nothing where it has no content."""
    body = "".join(part for part in parts if part)
    return f'<section id="{name}"><h2>{text(title)}</h2>{body}</section>' if body else ""


def paragraph(line: str) -> str:
    """Return a paragraph of plain text."""
    return f"<p>{text(line)}</p>"


def note(line: str) -> str:
    """Return a line that must not be missed."""
    return f'<p class="note">{text(line)}</p>'
