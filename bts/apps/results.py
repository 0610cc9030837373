"""How do the scores of finished runs get into the documents from the command line?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bts.apps.run import DONE, OneLineParser


def command(argv: Sequence[str]) -> int:
    """Write the tables of finished runs into the documents and return the exit status."""
    parser = OneLineParser(
        prog="bts results",
        description="Write the test scores of finished runs, cross-validations or reports into docs/results.md and README.md.",
    )
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="folders with scores; README.md takes each score from the first that has it",
    )
    parser.add_argument("--out", type=Path, default=Path("docs/results.md"), metavar="FILE", help="[docs/results.md]")
    parser.add_argument("--readme", type=Path, default=None, metavar="FILE", help="the short table too, into this file")
    options = parser.parse_args(argv)
    from bts.evaluation.anchors import beside_others
    from bts.evaluation.results_page import BESIDE, fill, has_markers, long_table, read_finished, short_table

    runs = [read_finished(path) for path in options.runs]
    fill(options.out, long_table(runs))
    if has_markers(options.out, BESIDE):
        fill(options.out, beside_others(runs), BESIDE)
    print(f"{len(runs)} results are in {options.out}")
    if options.readme is not None:
        fill(options.readme, short_table(runs))
        print(f"the short table is in {options.readme}")
    return DONE
