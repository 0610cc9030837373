"""How does a trained model learn what is out of place, and how well does it notice it, from the command line?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bts.apps.run import DONE, OneLineParser
from bts.errors import RequestError

EPILOG = """
examples:
  python -m tools outside runs/joint/TIME
  python -m tools outside runs/joint/TIME --foreign brisc:data/brisc --out docs/explanations/out_of_distribution.md
"""
MARKER = "outside"
"""Name of the pair of markers between which the table goes."""


def command(argv: Sequence[str]) -> int:
    """Write into a run's model what its slices look like, print what is noticed, and return the exit status."""
    options = make_parser().parse_args(argv)
    if options.slices < 1:
        raise RequestError(f"--slices {options.slices}: expected 1 or more")
    from bts.apps.audit import open_sets
    from bts.evaluation.outside import told
    from bts.runs import Run
    from bts.training.run_data import read_run
    from tools.outside_table import as_markdown, measure
    from tools.results_page import fill

    foreign = {each.source.root.name: each.source for each in open_sets(options.foreign)}
    data = read_run(Run(options.run), root=options.root)
    learned, found = measure(data, foreign, slices=options.slices, seed=options.seed, told=lambda kind: print(f"  {kind}"))
    print(told(learned.card) + "\n\n" + as_markdown(found))
    if options.out is not None:
        about = f"Written by `python -m tools outside`, seed {options.seed}: {told(learned.card)}."
        fill(options.out, f"{about}\n\n{as_markdown(found)}", MARKER)
    return DONE


def make_parser() -> OneLineParser:
    """Return the parser of `python -m tools outside`."""
    parser = OneLineParser(
        prog="python -m tools outside",
        description="Learn from a run's training slices what is out of place, write it into its model folder, and count what "
        "is noticed: false alarms on real slices, and photographs, noise, screenshots and other pictures that are no slices.",
        epilog=EPILOG,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--root", metavar="FOLDER", help="where the run's data lies [as the run says]")
    parser.add_argument(
        "--foreign", action="append", default=[], metavar="SOURCE:FOLDER", help="a set of another publisher; may be repeated"
    )
    parser.add_argument("--slices", type=int, default=100, metavar="N", help="at most so many of each kind [100]")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of what is drawn [0]")
    parser.add_argument("--out", type=Path, metavar="FILE", help="document with the marker pair 'outside' that gets the table")
    return parser
