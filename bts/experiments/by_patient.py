"""A split by patient whose parts are as large as those of the publisher's split."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from bts.audit.patients import merge_copies
from bts.data.sources.base import Record
from bts.data.split import Split
from bts.data.split_making import make_split
from bts.errors import RequestError
from bts.settings import SplitSettings


def published_split(records: Sequence[Record], settings: SplitSettings) -> Split:
    """Return the split by the publisher's own parts; raise `RequestError` where the recipe asks for another."""
    if settings.kind != "published":
        raise RequestError(
            f"split.kind {settings.kind}: --by-patient compares the publisher's own parts with a split by patient: "
            "add --split.kind published, or leave --by-patient out"
        )
    return make_split(list(records), settings)[0]


def draw_or_read_split(
    path: Path,
    published: Split,
    records: Sequence[Record],
    settings: SplitSettings,
    *,
    table: Path,
    copies: Callable[[], Iterable[tuple[str, str]]],
) -> tuple[Split, list[str]]:
    """Draw the split by patient at the first call, read it from `path` at later ones; return it with lines for the log.

    The parts have the size of the published ones, so that the two scores differ by who is in a part, not by how many slices.
    `copies` gives the pairs of paths that show one image. The table may assign two patients to them, as it may be from an audit
    of more sets; these patients are merged, or the split would leak. Raises `RequestError` where the file is of another table.
    """
    if not path.is_file():
        merged, count = merge_copies(records, copies(), group=settings.group)
        train, val = (len(published.part(part)) / len(published.rows) for part in ("train", "val"))
        split, lines = make_split(merged, replace(settings, kind="ratios", train=train, val=val, file=None))
        split.write(path)
        note = [f"{count} patients of {table} share an image with another and are merged with it"] if count else []
        return split, [*note, *lines]
    split = Split.read(path, group=settings.group)
    drawn = {row.path: row.patient for row in split.rows}
    pairs = {(record.patient, drawn.get(record.path)) for record in records}
    renamed = len(pairs) > len({patient for patient, _ in pairs})  # one patient of the table under two names
    if renamed or len(drawn) != len(records) or any(name is None for _, name in pairs):
        raise RequestError(f"{path}: was drawn from another table than {table}: name another folder with --out")
    return split, [f"split {split.fingerprint}: read from an earlier call"]
