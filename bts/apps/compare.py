"""The `bts compare` command: paired comparison of scored models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from bts.apps.run import DONE, OneLineParser, say


def command(argv: Sequence[str]) -> int:
    """Compare every further run with the first and return the exit status."""
    parser = OneLineParser(
        prog="bts compare",
        description="Compare scored runs, reports or cross-validations on their common slices, paired over patients. "
        "Each is compared with the first.",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="two or more run or report folders")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the table as .csv or .json")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="bootstrap seed [0]")
    parser.add_argument("--draws", type=int, default=2000, metavar="N", help="number of bootstrap draws [2000]")
    options = parser.parse_args(argv)
    if len(options.runs) < 2:
        parser.error("expected at least two runs to compare")
    if options.out is not None and options.out.suffix not in (".csv", ".json"):
        parser.error(f"--out {options.out}: expected a file that ends in .csv or .json")
    import pandas as pd

    from bts.csv_files import write_frame
    from bts.evaluation.results import read_evaluation
    from bts.experiments.compare import compare, comparison_text, rows_of

    first, *others = [read_evaluation(folder) for folder in options.runs]
    found = [compare(first, other, seed=options.seed, draws=options.draws) for other in others]
    say("\n\n".join(comparison_text(one) for one in found))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        if options.out.suffix == ".csv":
            write_frame(pd.DataFrame(rows_of(found)), options.out)
        else:
            options.out.write_text(json.dumps(rows_of(found), indent=1) + "\n", encoding="utf-8")
        say(f"\ntable   {options.out}")
    return DONE
