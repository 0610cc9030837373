"""Which models are there, what was each trained on, and which of them answers when none is named?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bts.apps.run import DONE, OneLineParser
from bts.errors import RequestError
from bts.glossary import DISCLAIMER


def command(argv: Sequence[str]) -> int:
    """List the models and return the exit status."""
    parser = OneLineParser(
        prog="bts models", description="List the models of the package and of finished runs, and say which answer unasked."
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="FOLDER", help="where the runs lie [runs]")
    options = parser.parse_args(argv)
    from bts.inference.model_listing import list_models
    from bts.inference.model_selection import select_models

    found = list_models(options.runs)
    for model in found:
        print("\n".join(model.lines))
    if not found:
        print("no model is there")
    try:
        _, notes = select_models(seg=None, cls=None, joint=None, runs=options.runs)
    except RequestError as error:
        notes = (str(error),)
    print("\nwithout a name:\n" + "\n".join(f"  {note}" for note in notes))
    print(DISCLAIMER)
    return DONE
