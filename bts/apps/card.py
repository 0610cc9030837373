"""How is the model card of a run written?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bts.apps.run import DONE, OneLineParser
from bts.errors import RequestError


def command(argv: Sequence[str]) -> int:
    """Write the card and return the exit status."""
    parser = OneLineParser(
        prog="bts card", description="Write the model card of a finished run: data, scores with intervals, failures, limits."
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run")
    parser.add_argument("--name", help="what the model is called [as the run calls it]")
    parser.add_argument("--foreign", type=Path, metavar="REPORT", help="what `bts evaluate --data` wrote on a foreign set")
    parser.add_argument("--seen", type=Path, metavar="FILE", help="words of someone who looked at the pictures, in Markdown")
    parser.add_argument("--out", type=Path, default=Path("MODEL_CARD.md"), metavar="FILE", help="where to [MODEL_CARD.md]")
    options = parser.parse_args(argv)
    from bts.report.card_page import card_text

    text = card_text(options.run, name=options.name, foreign=options.foreign, seen=options.seen)
    try:
        options.out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RequestError(f"{options.out}: can't be written ({error.strerror}): name another file with --out") from error
    print(f"{options.out} is written")
    return DONE
