"""The `bts manifest` command: combine several sets in one table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bts.apps.audit import open_sets
from bts.apps.run import DONE, SOME_FAILED, OneLineParser, say
from bts.apps.sources import count_lines
from bts.data.patient_ids import format_ids
from bts.errors import RequestError
from bts.glossary import count_of

SHOWN = 10
"""Rows that are shown of a table made from names."""
EPILOG = """
examples:
  bts manifest figshare:data/figshare --healthy brisc:data/brisc kaggle=folders:data/kaggle/Training \\
      --tumours brisc:data/brisc kaggle=folders:data/kaggle/Training --hold-out 1 --out data/model/manifest.csv
  bts manifest my_data --pattern '{patient}_{label}_{slice}'      my_data/P01_glioma_3.png, masks as P01_glioma_3_mask.png
  bts manifest my_data --pattern '{label}/{patient}/{slice}'      my_data/images/glioma/P01/slice3.png and my_data/masks/...
  python train_joint.py --data.source manifest --data.root data/model
"""


def command(argv: Sequence[str]) -> int:
    """Write the table, count what is in it, and return the exit status."""
    parser = OneLineParser(
        prog="bts manifest",
        description="Write one table of the slices of several sets. Healthy slices without a patient ID get an invented one, "
        "the same for similar slices, so that a split by patient keeps copies together. Copies of images of an earlier set are "
        "excluded, as are healthy slices known to be CT or T2-weighted or to show a mass.",
        epilog=EPILOG,
    )
    parser.add_argument(
        "sets",
        nargs="+",
        metavar="SOURCE",
        help="set to include completely: NAME:FOLDER (`bts sources` lists the names); prefix WORD= to rename it",
    )
    parser.add_argument("--healthy", nargs="+", default=[], metavar="SOURCE", help="sets of which only healthy slices are used")
    parser.add_argument(
        "--tumours",
        nargs="+",
        default=[],
        metavar="SOURCE",
        help="sets of which only slices with a tumour are used, without copies of slices of earlier sets",
    )
    parser.add_argument(
        "--hold-out",
        type=int,
        choices=(1, 2),
        metavar="FOLD",
        help="hold out fold 1 or 2 of the --tumours sets, by groups of similar slices, in held_out.csv beside the table",
    )
    parser.add_argument(
        "--pattern",
        metavar="NAMES",
        help="read a single FOLDER by the names of its files: {patient}, {label}, {slice}, {split}, * for any text, "
        "FOLDER/ for folders; masks are found by words such as mask or seg",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="output file, such as data/model/manifest.csv [with --pattern: in the FOLDER]"
    )
    options = parser.parse_args(argv)
    if options.pattern is not None:
        if len(options.sets) > 1 or options.healthy or options.tumours or options.hold_out:
            raise RequestError("--pattern: expected one FOLDER and no other set: write one table each, then combine them")
        return write_named(Path(options.sets[0]), options.pattern, options.out)
    if options.out is None:
        raise RequestError("--out: expected the file to write, such as data/model/manifest.csv")
    from bts.audit.exclusions import REASONS
    from bts.audit.mixing import mix
    from bts.data.sources.manifest_table import write_manifest

    if options.hold_out and not options.tumours:
        raise RequestError("--hold-out: expected sets in --tumours, received none: add them, or omit --hold-out")
    mixed = mix(
        *(open_sets(sets) for sets in (options.sets, options.healthy, options.tumours)),
        folder=options.out.parent,
        hold_out=options.hold_out,
    )
    write_manifest(options.out, mixed.rows)
    for (source, label), count in Counter((row["source"], row["label"]) for row in mixed.rows).items():
        ids = {row["patient_id"] for row in mixed.rows if (row["source"], row["label"]) == (source, label)}
        say(f"{source:<12} {label or 'unknown':<12} {count_of(count, 'slice'):>13} {format_ids(ids, width=14)}")
    if mixed.excluded:
        reasons = ", ".join(f"{count} {REASONS[reason]}" for reason, count in mixed.excluded.most_common())
        say(f"excluded healthy slices: {reasons}")
    if options.hold_out:
        held_out = options.out.with_name("held_out.csv")
        write_manifest(held_out, mixed.held_out)
        say(f"held out: {count_of(len(mixed.held_out), 'slice')} of fold {options.hold_out}, in {held_out}")
    where = options.out.parent if options.out.name == "manifest.csv" else options.out
    say(
        f"{len(mixed.rows)} slices are in {options.out}\nnext: python train_joint.py --data.source manifest --data.root {where}"
    )
    return DONE


def write_named(folder: Path, pattern: str, out: Path | None) -> int:
    """Write the table of a folder whose names tell patients and labels, show some rows, and return the exit status."""
    from bts.data.sources.manifest_table import manifest_rows, write_manifest
    from bts.data.sources.name_pattern import read_names

    file = out or folder / "manifest.csv"
    if out is None and file.exists():
        raise RequestError(f"{file}: exists: replace it with --out {file}, or name another file")
    named = read_names(folder, pattern)
    write_manifest(file, manifest_rows(folder, named.records, folder=file.parent, name=folder.resolve().name))
    every = max(1, len(named.records) // SHOWN)
    rows = [("patient", "label", "split", "picture", "mask")]
    rows += [
        (each.patient or "-", each.label or "-", each.part or "-", each.path, each.mask or "-")
        for each in named.records[::every][:SHOWN]
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    say("\n".join("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows))
    masks = sum(each.mask is not None for each in named.records)
    say("\n".join(["", *count_lines(named.records), f"{masks} of {len(named.records)} pictures have a mask"]))
    for what, names in (
        ("pictures that the pattern does not fit", named.unmatched),
        ("masks without a picture", named.lone_masks),
    ):
        if names:
            say(f"left out: {len(names)} {what}, the first: {names[0]}")
    say(f"{len(named.records)} slices are in {file}\nnext: python train_joint.py --data.source manifest --data.root {file}")
    return SOME_FAILED if named.unmatched or named.lone_masks else DONE
