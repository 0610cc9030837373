"""Table of many scans, with sortable columns, failures and progress."""

from __future__ import annotations

from collections.abc import Callable

from bts.apps.web.batch import Row
from bts.apps.web.files import BATCH_ZIP
from bts.apps.web.words import begun, named, text
from bts.inference.panel import percent
from bts.inference.statements import REFER

COLUMNS = (("File", ""), ("Class", ""), ("Probability", "n"), ("Mask, px", "n"), ("Agree", ""), ("Notes", ""))


def table(rows: list[Row], *, total: int, secret: str = "", stopped: bool = False) -> str:
    """Return the table with how far it is; with the secret of the session, an ended one with the archive of what is done."""
    failed = sum(row.failed for row in rows)
    done = f"{'Stopped: ' if stopped else ''}{len(rows) - failed} of {total} scans done" + (
        f", {failed} failed" if failed else ""
    )
    bar = f'<progress max="{total}" value="{len(rows)}" aria-label="Scans done"></progress>' if not secret else ""
    name = "All results" if len(rows) == total else "Results so far"
    link = f'<a class="bts-zip" href="results/{secret}/{BATCH_ZIP}" download>{name} (ZIP)</a>' if secret and rows else ""
    heads = "".join(
        f'<th class="{kind}" aria-sort="none"><button type="button" data-bts="sort">{name}</button></th>'
        for name, kind in COLUMNS
    )
    body = "".join(_line(row) for row in rows)
    return (
        f'<div class="bts-batch"><p role="status">{done}</p>{bar}{link}<div class="scroll">'
        f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div></div>"
    )


def _line(row: Row) -> str:
    if row.failed:
        cells = '<td data-v="">–</td><td class="n" data-v="-1">–</td><td class="n" data-v="-1">–</td><td data-v="">–</td>'
        return f'<tr class="failed"><td>{text(row.name)}</td>{cells}<td>{text(row.note)}</td></tr>'
    agree = {True: "yes", False: "no", None: "–"}[row.consistent]
    note = text(row.note).replace(REFER, f"<b>{begun(REFER)}</b>", 1) if row.refer else text(row.note)
    return (
        f"<tr><td>{text(row.name)}</td><td>{text(named(row.label)) if row.label else '–'}</td>"
        f"{_number(row.probability, percent)}{_number(row.area, '{:,}'.format)}<td>{agree}</td><td>{note}</td></tr>"
    )


def _number(value: float | None, shape: Callable[[float], str]) -> str:
    shown = "–" if value is None else text(shape(value))
    return f'<td class="n" data-v="{-1 if value is None else value}">{shown}</td>'
