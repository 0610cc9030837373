"""The `bts sources` command: list the data sources, or describe classes, patients and masks of a set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bts.apps.run import DONE, SOME_FAILED, OneLineParser, printable, say
from bts.data.patient_ids import format_ids
from bts.errors import InputError
from bts.glossary import FIGSHARE_CLASSES, NO_TUMOUR, count_of
from bts.progress import counted, phase
from bts.registry import suggestion

if TYPE_CHECKING:
    from bts.data.sources.base import Record, Source

SHOWN = 8
"""Maximum number of mask values that are listed."""


@dataclass
class _Masks:
    """Masks of one class: the fraction of the image that each covers, and the stored values."""

    shares: list[float] = field(default_factory=list)
    values: set[float] = field(default_factory=set)

    def add(self, mask: np.ndarray, stored: np.ndarray | None) -> None:
        """Add a mask (H, W) bool, and its stored values if known."""
        self.shares.append(float(mask.mean()))
        if stored is not None:
            self.values.update(np.unique(stored).tolist())

    def line(self) -> str:
        """Return a line with the number of masks, empty masks, areas and values."""
        empty, drawn = self.shares.count(0.0), sorted(share for share in self.shares if share)
        parts = [f"{count_of(len(self.shares), 'mask'):>12}, {empty} empty ({empty / len(self.shares):.0%})"]
        if drawn:
            ends = f"{drawn[0]:.2%} to {drawn[-1]:.2%}"
            parts.append(f"area {ends} of the image, median {drawn[len(drawn) // 2]:.2%}")
        if self.values:
            values = sorted(self.values)
            few = ", ".join(f"{value:g}" for value in values)
            many = f"{values[0]:g} to {values[-1]:g} ({len(values)} different)"
            parts.append(f"values {few if len(values) <= SHOWN else many}")
        return "; ".join(parts)


def command(argv: Sequence[str]) -> int:
    """List the sources, or describe one set, and return the exit status."""
    parser = OneLineParser(
        prog="bts sources", description="List the data sources, or count slices and patients of a set and describe its masks."
    )
    parser.add_argument("set", nargs="?", metavar="SOURCE", help="NAME:FOLDER, or a folder whose layout is detected")
    parser.add_argument("root", nargs="?", metavar="FOLDER", help="folder of the set, if not given in SOURCE [data/NAME]")
    parser.add_argument(
        "--mask-labels", type=int, nargs="+", default=[], metavar="N", help="mask values of the tumour [all but 0]"
    )
    parser.add_argument("--no-masks", action="store_true", help="count slices and patients only, without reading the masks")
    options = parser.parse_args(argv)
    from bts.apps.audit import open_sets
    from bts.data.sources.catalogue import sources

    if options.set is None:
        for name in sources:
            say(f"{name:<12} {(sources[name].__doc__ or '').strip().splitlines()[0]}")
        return DONE
    (one,) = open_sets([options.set if options.root is None else f"{options.set}:{options.root}"])
    source = one.source
    if options.mask_labels:
        source.mask_labels = tuple(options.mask_labels)
    with phase("listing slices"):
        records = source.records()
    say(f"{source.name} in {source.root}{' (synthetic)' if source.synthetic else ''}")
    say("\n".join(map(printable, count_lines(records))))
    if options.no_masks:
        return DONE
    lines, failed = mask_lines(source, records)
    say("\n".join(map(printable, lines)))
    return SOME_FAILED if failed else DONE


def count_lines(records: Sequence[Record]) -> list[str]:
    """Return a line of slices and patients for each class, and one for all."""
    ids: dict[str | None, set[str]] = {}
    for record in records:
        ids.setdefault(record.label, set()).update([record.patient] if record.patient else [])
    lines = [
        _count_line(label or "unknown", count, ids[label]) + _other_class(label)
        for label, count in Counter(record.label for record in records).most_common()
    ]
    return [*lines, _count_line("all", len(records), set().union(*ids.values()))]


def _count_line(name: str, count: int, ids: set[str]) -> str:
    return f"{name:<12} {count_of(count, 'slice'):>13} {format_ids(ids, width=14)}"


def _other_class(label: str | None) -> str:
    """Return a note on a class that no public set has; it may be a misspelling or no class at all."""
    known = (*FIGSHARE_CLASSES, NO_TUMOUR)
    if label is None or label in known:
        return ""
    return f"   no class of the public sets ({', '.join(known)}){suggestion(label, known)}: used as a class of its own"


def mask_lines(source: Source, records: Sequence[Record]) -> tuple[list[str], int]:
    """Return a line on the masks of each class, and the number of slices that can't be read.

    Args:
        source: source of the records.
        records: records to read.
    """
    found: dict[str, _Masks] = {}
    failed: list[InputError] = []
    for record in counted(records, "reading masks"):
        try:
            mask, stored = source.read(record).mask, source.mask_values(record)
        except InputError as error:
            failed.append(error)
        else:
            if mask is not None:
                found.setdefault(record.label or "unknown", _Masks()).add(mask, stored)
    shares = [share for masks in found.values() for share in masks.shares]
    empty, unknown = shares.count(0.0), len(records) - len(failed) - len(shares)
    counts = f"{empty} empty or of a healthy slice, {unknown} without a mask"
    lines = [f"masks: {len(shares) - empty} of {len(records)} slices with a tumour, {counts}"]
    lines += [f"{label:<12} {masks.line()}" for label, masks in found.items()]
    if failed:
        lines.append(f"{len(failed)} of {len(records)} slices can't be read, the first: {failed[0]}")
    return lines, len(failed)
