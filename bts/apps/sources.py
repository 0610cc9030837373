"""`bts sources`: list the data sources and count what one holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bts.apps.run import DONE, OneLineParser


def command(argv: Sequence[str]) -> int:
    """List the sources, or count slices and patients of one, and return the exit status."""
    parser = OneLineParser(prog="bts sources", description="List the data sources, or count what one holds.")
    parser.add_argument("name", nargs="?", metavar="NAME", help="a source, such as figshare")
    parser.add_argument("root", nargs="?", type=Path, metavar="ROOT", help="its folder [data/NAME]")
    options = parser.parse_args(argv)
    from bts.data.sources.base import sources
    from bts.data.sources.catalogue import open_source

    if options.name is None:
        for name in sources:
            print(f"{name:<12} {(sources[name].__doc__ or '').strip().splitlines()[0]}")
        return DONE
    source = open_source(options.name, options.root or Path("data") / options.name)
    records = source.records()
    patients: dict[str | None, set[str | None]] = {}
    for record in records:
        patients.setdefault(record.label, set()).add(record.patient)
    print(f"{options.name} in {source.root}{' (synthetic)' if source.synthetic else ''}")
    for label, count in Counter(record.label for record in records).most_common():
        print(f"{label or 'not known':<12} {count:>6} slices {len(patients[label] - {None}):>5} patients")
    known = {record.patient for record in records} - {None}
    print(f"{'all':<12} {len(records):>6} slices {len(known):>5} patients")
    return DONE
