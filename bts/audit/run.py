"""Does a split leak, within a set or across sets? The whole audit in one call; `bts audit` and training both use it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bts.audit.findings import Findings, judge
from bts.audit.matches import find_matches
from bts.audit.neighbours import EXACT
from bts.audit.pictures import AuditSet, collect
from bts.audit.recovery import find_origins
from bts.data.families import Group
from bts.data.sources.base import Source
from bts.data.split import Split
from bts.errors import RequestError


def audit(
    sets: Sequence[AuditSet],
    *,
    group: Group = "family",
    recover: str | None = None,
    exact: int = EXACT,
    progress: Callable[[int, int], None] | None = None,
    note: Callable[[str], None] | None = None,
) -> Findings:
    """Return what is on two sides, what is the same under two labels, and whose pictures these are.

    Args:
        sets: what is audited together; their parts are the sides.
        group: `family` takes MR040240 and MR040240B for one person, `exact` for two.
        recover: name of the set whose patients are carried over to the pictures of the others that are its slices.
        exact: number of distinct pictures up to which every pair is compared.
        progress: called with (done, total) as the pictures are read.
        note: receives a line when a step begins.

    Raises:
        RequestError: sets of one name, none to recover from, a split of other data, or no picture that can be read.
    """
    names = [each.name for each in sets]
    if recover and recover not in names:
        raise RequestError(f"no set '{recover}' to recover from: audit it together with the others (here: {', '.join(names)})")
    collection = collect(sets, progress=progress)
    matches = find_matches(collection, exact=exact, note=note)
    origins = find_origins(collection, matches.found, recover) if recover else {}
    return judge(collection, matches, group=group, origins=origins)


def audit_split(source: Source, split: Split, *, progress: Callable[[int, int], None] | None = None) -> Findings:
    """Return the findings on one source and its split; `findings.refuse()` raises the one line for the first leak."""
    return audit([split_set(source, split)], group=split.group, progress=progress)


def split_set(source: Source, split: Split) -> AuditSet:
    """Return a source under audit with the sides and patients that a split gives its slices."""
    parts = {row.path: row.part for row in split.rows}
    patients = {row.path: row.patient for row in split.rows}
    return AuditSet(name=source.name, source=source, parts=parts, patients=patients)
