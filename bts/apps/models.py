"""The `bts models` command: list the available models and the default one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bts.apps.run import DONE, OneLineParser, say
from bts.errors import RequestError
from bts.glossary import DISCLAIMER


def command(argv: Sequence[str]) -> int:
    """List the models and return the exit status."""
    parser = OneLineParser(
        prog="bts models",
        description="List the bundled models, the models of finished runs, and the default models.",
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="FOLDER", help="folder of the runs [runs]")
    options = parser.parse_args(argv)
    from bts.inference.model_listing import list_models
    from bts.inference.model_selection import select_models

    found = list_models(options.runs)
    for model in found:
        say("\n".join(model.lines))
    if not found:
        say("no models found")
    try:
        _, notes = select_models(seg=None, cls=None, joint=None, runs=options.runs)
    except RequestError as error:
        notes = (str(error),)
    say("\nused by default:\n" + "\n".join(f"  {note}" for note in notes))
    say(DISCLAIMER)
    return DONE
