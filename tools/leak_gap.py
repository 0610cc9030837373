"""Write the score inflation from leakage, as `bts audit --leak-gap` measured it, into the documents."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bts.apps.run import DONE, OneLineParser
from bts.csv_files import read_frame
from bts.errors import RequestError
from bts.experiments.leak_gap import FILE
from bts.report.rendering import Raw, table
from tools.documents import write_block

BLOCK = "leak-gap"
PAGE, FIGURE = Path("docs/explanations/leak_audit.md"), Path("docs/images/leak_gap.png")


def command(argv: Sequence[str]) -> int:
    """Write tables and figure and return the exit status."""
    parser = OneLineParser(
        prog="python -m tools leak-gap",
        description="Write what `bts audit --leak-gap` measured into the documents: all of it, and its short table.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="output folder of the audit")
    parser.add_argument("--out", type=Path, default=PAGE, metavar="FILE", help=f"[{PAGE}]")
    parser.add_argument("--readme", type=Path, metavar="FILE", help="also write the short table into this file")
    parser.add_argument("--figure", type=Path, default=FIGURE, metavar="FILE", help=f"[{FIGURE}]")
    options = parser.parse_args(argv)
    rows = read_gaps(options.folder / f"{FILE}.csv")
    write_block(options.out, long_table(rows), BLOCK)
    if options.readme is not None:
        write_block(options.readme, short_table(rows), BLOCK)
    shutil.copyfile(options.folder / f"{FILE}.png", options.figure)
    print(f"{len(rows)} results are in {options.out}, the figure is {options.figure}")
    return DONE


def read_gaps(file: Path) -> pd.DataFrame:
    """Return the rows of `leak_gap.csv`; raise `RequestError` where it is missing."""
    if not file.is_file():
        raise RequestError(f"{file}: no such file: name the output folder of `bts audit ... --leak-gap`")
    return read_frame(file)


def long_table(rows: pd.DataFrame) -> str:
    """Return every row, and what it was measured with."""
    head = ("set", "tested", "classifier", "patient left out", "patient's other slices in training", "difference", "copies too")
    cells = [
        (
            row["set"],
            Raw(f"{row['part']}: {row['n_slices']} slices of {row['n_patients']} patients, {row['with_copy']} with a copy"),
            row["classifier"],
            *(_score(row, name) for name in ("out", "in", "gap", "copies")),
        )
        for row in rows.to_dict("records")
    ]
    first = rows.iloc[0]
    made = f"{first['draws']} draws, seed {first['seed']}; {first['machine']}"
    return f"{table(head, cells)}\n\n*95% intervals over patients, {made}.*"


def short_table(rows: pd.DataFrame) -> str:
    """Return one row per set: the nearest neighbour with and without the patient, and both differences."""
    head = (
        "test slices with a tumour",
        "patient left out",
        "patient in training",
        "difference",
        "logistic regression: difference",
    )
    cells = []
    for name, own in rows.groupby("set", sort=False):
        first, second = own.to_dict("records")
        what = Raw(f"{name}: {first['n_slices']} slices of {first['n_patients']} patients")
        cells.append((what, *(_score(first, each) for each in ("out", "in", "gap")), _score(second, "gap")))
    return table(head, cells)


def _score(row: dict[Any, Any], name: str) -> Raw:
    return Raw(f"{row[name]:.3f} [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]")
