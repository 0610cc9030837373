"""The `bts card` command: the model card of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bts.apps.run import DONE, OneLineParser, say
from bts.errors import RequestError


def command(argv: Sequence[str]) -> int:
    """Write the card and return the exit status."""
    parser = OneLineParser(
        prog="bts card", description="Write the model card of a finished run: data, scores with intervals, failures, limits."
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run")
    parser.add_argument("--name", help="name of the model [name of the run]")
    parser.add_argument("--external", type=Path, metavar="REPORT", help="report of `bts evaluate --data` on an external set")
    parser.add_argument("--observations", type=Path, metavar="FILE", help="Markdown file with observations to include")
    parser.add_argument("--out", type=Path, default=Path("MODEL_CARD.md"), metavar="FILE", help="output file [MODEL_CARD.md]")
    options = parser.parse_args(argv)
    from bts.report.card import card_text

    text = card_text(options.run, name=options.name, external=options.external, observations=options.observations)
    try:
        options.out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RequestError(f"{options.out}: can't be written ({error.strerror}): choose another file with --out") from error
    say(f"{options.out} is written")
    return DONE
