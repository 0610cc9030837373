"""The `bts crossval` command: cross-validation of a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bts.apps.engine import add_engine_options, map_engine
from bts.apps.run import DONE, OneLineParser, say
from bts.errors import RequestError
from bts.glossary import DISCLAIMER, TASKS
from bts.progress import phase


def command(argv: Sequence[str]) -> int:
    """Train, score and pool the folds, and return the exit status."""
    options, rest = make_parser().parse_known_args(argv)
    if options.help:
        say(make_parser().format_help())
        return DONE
    if options.task is None:
        raise RequestError("expected --task seg, --task cls or --task joint")
    with phase("starting"):
        from bts.apps.train import resolve_settings
        from bts.evaluation.metric_registry import text_table
        from bts.experiments.crossval import Folds, cross_validate

    options.resume = None  # every fold is resumed by itself
    folds = Folds.parse(options.folds)
    settings = resolve_settings(options.task, options, rest)
    out = options.out or Path(settings.runs) / "crossval" / f"{options.task}-{options.folds}"
    with phase("starting"):
        from bts.audit.gate import gate
        from bts.training.fit import fit

    train = partial(fit, check=gate(settings))
    found = cross_validate(settings, options.task, folds, out, train=train, seed=settings.seed, engine=map_engine(options))
    say("\n".join([found.title, text_table(found.summary), *found.notes]))
    say(f"\nreport  {out / 'report' / 'index.html'}   {DISCLAIMER}")
    return DONE


def make_parser() -> OneLineParser:
    """Return the parser of the options that are not settings."""
    parser = OneLineParser(
        prog="bts crossval",
        description="Train one model per fold, score each on its held-out fold, and pool all patients in one report. "
        "The same --out resumes an interrupted cross-validation.",
        epilog="Settings of train_*.py apply to all folds: --data.root FOLDER --optim.epochs 10 ...",
        help_option=False,
    )
    parser.add_argument("-h", "--help", action="store_true", help="show this help message and exit")
    parser.add_argument("--task", choices=TASKS, help="task of the recipe")
    parser.add_argument(
        "--folds",
        default="cvind",
        metavar="FOLDS",
        help="number, or cvind for the folds of figshare's author [cvind]",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings of the recipe [configs/<task>.yaml]")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="output folder [<runs>/crossval/<task>-<folds>]")
    add_engine_options(parser, each="training")
    return parser
