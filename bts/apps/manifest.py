"""How is one table made of several sets, tumour slices of one and healthy slices of another?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bts.apps.audit import counter, open_sets
from bts.apps.run import DONE, OneLineParser

EPILOG = """
examples:
  bts manifest figshare:data/figshare --healthy brisc:data/brisc kaggle=folders:data/kaggle/Training \\
      --out data/model/manifest.csv
  python train_joint.py --data.source manifest --data.root data/model
"""


def command(argv: Sequence[str]) -> int:
    """Write the table, count what is in it, and return the exit status."""
    parser = OneLineParser(
        prog="bts manifest",
        description="Write one table of the slices of several sets. Healthy slices without a patient get an invented one, "
        "the same for all that look alike, so that a split by patient keeps copies together. What copies or looks like a "
        "picture of a set named before it is left out.",
        epilog=EPILOG,
    )
    parser.add_argument(
        "sets",
        nargs="+",
        metavar="SOURCE",
        help="all slices of NAME:FOLDER (`bts sources` lists the names); WORD= before it is what the table calls the set",
    )
    parser.add_argument("--healthy", nargs="+", default=[], metavar="SOURCE", help="of these only the slices without a tumour")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the table, such as data/model/manifest.csv")
    options = parser.parse_args(argv)
    from bts.audit.mixing import mix
    from bts.data.sources.manifest_table import write_manifest

    rows = mix(open_sets(options.sets), open_sets(options.healthy), folder=options.out.parent, progress=counter("reading"))
    write_manifest(options.out, rows)
    for (source, label), count in Counter((row["source"], row["label"]) for row in rows).items():
        patients = {row["patient_id"] for row in rows if (row["source"], row["label"]) == (source, label)}
        print(f"{source:<12} {label or 'not known':<12} {count:>6} slices {len(patients):>5} patients")
    where = options.out.parent if options.out.name == "manifest.csv" else options.out
    print(f"{len(rows)} slices are in {options.out}\nnext: python train_joint.py --data.source manifest --data.root {where}")
    return DONE
