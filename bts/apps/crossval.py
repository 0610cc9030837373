"""How does a recipe get tested on every patient once, from the command line?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bts.apps.run import DONE, OneLineParser
from bts.errors import RequestError
from bts.glossary import DISCLAIMER


def command(argv: Sequence[str]) -> int:
    """Train, score and pool the folds that the arguments ask for; return the exit status."""
    options, rest = make_parser().parse_known_args(argv)
    if options.help:
        print(make_parser().format_help())
        return DONE
    if options.task is None:
        raise RequestError("expected --task seg, --task cls or --task joint")
    from bts.apps.train import gather
    from bts.evaluation.headline import text_table
    from bts.experiments.crossval import Folds, cross_validate

    options.resume = None  # a cross-validation goes on by itself, fold by fold
    folds = Folds.parse(options.folds)
    settings = gather(options.task, options, rest)
    out = options.out or Path(settings.runs) / "crossval" / f"{options.task}-{options.folds}"
    from bts.audit.gate import gate
    from bts.training.fit import fit

    train = partial(fit, check=gate(settings))
    found = cross_validate(settings, options.task, folds, out, train=train, seed=settings.seed)
    print(f"{found.title}\n{text_table(found.summary)}")
    for line in found.notes:
        print(line)
    print(f"\nreport  {out / 'report' / 'index.html'}   {DISCLAIMER}")
    return DONE


def make_parser() -> OneLineParser:
    """Return the parser of what is no setting."""
    parser = OneLineParser(
        prog="bts crossval",
        description="Train one model a fold, score each on the fold it never saw, and pool all patients into one report. "
        "Called again with the same --out, it goes on where it was interrupted.",
        epilog="Every setting of the task's train_*.py may follow: --data.root FOLDER --optim.epochs 10 ...",
        help_option=False,
    )
    parser.add_argument("-h", "--help", action="store_true", help="show this")
    parser.add_argument("--task", choices=("seg", "cls", "joint"), help="what is trained")
    parser.add_argument("--folds", default="cvind", metavar="FOLDS", help="cvind (the author's five) or a number [cvind]")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings of the recipe [configs/<task>.yaml]")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where folds and report go [<runs>/crossval/<task>-<folds>]")
    return parser
