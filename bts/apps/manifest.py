"""The `bts manifest` command: combine several sets in one table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bts.apps.audit import open_sets
from bts.apps.run import DONE, OneLineParser, say
from bts.errors import RequestError

EPILOG = """
examples:
  bts manifest figshare:data/figshare --healthy brisc:data/brisc kaggle=folders:data/kaggle/Training \\
      --tumours brisc:data/brisc kaggle=folders:data/kaggle/Training --hold-out 1 --out data/model/manifest.csv
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
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="output file, such as data/model/manifest.csv")
    options = parser.parse_args(argv)
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
        patients = {row["patient_id"] for row in mixed.rows if (row["source"], row["label"]) == (source, label)}
        say(f"{source:<12} {label or 'unknown':<12} {count:>6} slices {len(patients):>5} patients")
    if mixed.excluded:
        reasons = ", ".join(f"{count} {REASONS[reason]}" for reason, count in mixed.excluded.most_common())
        say(f"excluded healthy slices: {reasons}")
    if options.hold_out:
        held_out = options.out.with_name("held_out.csv")
        write_manifest(held_out, mixed.held_out)
        say(f"{len(mixed.held_out)} slices of fold {options.hold_out} are held out in {held_out}")
    where = options.out.parent if options.out.name == "manifest.csv" else options.out
    say(
        f"{len(mixed.rows)} slices are in {options.out}\nnext: python train_joint.py --data.source manifest --data.root {where}"
    )
    return DONE
