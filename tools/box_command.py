"""How does a finished run's model come into the package from the command line?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bts.apps.run import DONE, OneLineParser
from bts.glossary import DISCLAIMER

EPILOG = """
examples:
  python -m tools box runs/joint/TIME --name joint-mobilenetv2
  python -m tools box runs/joint/TIME --name trial --box elsewhere
"""


def command(argv: Sequence[str]) -> int:
    """Put a model into the package and return the exit status."""
    parser = OneLineParser(
        prog="python -m tools box",
        description="Put a finished run's model into the package, in sixteen bits and as ONNX, with its card and checksums. "
        "It answers where no model is named and no run on real data is there.",
        epilog=EPILOG,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run")
    parser.add_argument("--name", required=True, help="what results call the model, and how it can be asked")
    parser.add_argument("--box", type=Path, metavar="FOLDER", help="where to [the package's own place]")
    parser.add_argument("--root", metavar="FOLDER", help="where the run's data lies [as the run says]")
    parser.add_argument(
        "--slices", type=int, default=200, metavar="N", help="test slices on which both models are compared; 0 for none [200]"
    )
    parser.add_argument("--foreign", type=Path, metavar="REPORT", help="what `bts evaluate --data` wrote, for the card")
    parser.add_argument("--seen", type=Path, metavar="FILE", help="words for the card of someone who looked at the pictures")
    options = parser.parse_args(argv)
    from tools.boxing import box_run

    done = box_run(
        options.run,
        name=options.name,
        box=options.box,
        root=options.root,
        slices=options.slices,
        foreign=options.foreign,
        seen=options.seen,
    )
    for note in done.notes:
        print(note)
    print(DISCLAIMER)
    return DONE
