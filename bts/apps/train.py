"""Training from the command line, from arguments to a finished run.

Settings come from the defaults, then `configs/<task>.yaml` (or `--config FILE`), then the command line.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bts.apps.run import DONE, OneLineParser, run_app, say
from bts.errors import RequestError
from bts.glossary import DISCLAIMER, Task
from bts.progress import phase
from bts.registry import suggestion
from bts.settings import SETTINGS, Settings

if TYPE_CHECKING:
    from bts.apps.settings_parser import Override
    from bts.runs import Run


def command(argv: Sequence[str]) -> int:
    """Run `bts train TASK ...`."""
    name, rest = (argv[0], argv[1:]) if argv else ("", [])
    task = next((each for each in SETTINGS if each == name), None)
    if task is None:
        usage = f"expected {' or '.join(f'`bts train {each}`' for each in SETTINGS)}"
        if name in ("-h", "--help"):
            say(f"{usage}, followed by settings such as `--optim.lr 3e-4`; `bts train seg --help` lists all settings")
            return DONE
        raise RequestError(f"{usage}, received '{name}'{suggestion(name, SETTINGS)}" if name else usage)
    return train(task, rest)


def main(task: Task, argv: Sequence[str] | None = None) -> int:
    """Train the model of a task and return the exit status."""
    return run_app(lambda arguments: train(task, arguments), argv)


def train(task: Task, argv: Sequence[str]) -> int:
    """Train, score the run, and print the paths of its files."""
    options, rest = make_parser(task).parse_known_args(argv)
    if options.help:
        say(help_text(task))
        return DONE
    with phase("starting"):
        settings = resolve_settings(task, options, rest)
        from bts.audit.gate import gate
        from bts.training.device import is_first
        from bts.training.fit import fit  # imports torch: invalid requests are reported before

    run = fit(settings, resume=options.resume, check=gate(settings))
    return conclude(task, run, settings) if is_first() else DONE  # one process scores for all


def make_parser(task: Task) -> OneLineParser:
    """Return the parser of the options that are not settings."""
    prog = f"python train_{task}.py"
    parser = OneLineParser(prog=prog, description=f"Train the {task} model.", help_option=False)
    parser.add_argument("-h", "--help", action="store_true", help="show this help message and exit")
    parser.add_argument("--config", type=Path, metavar="FILE", help=f"YAML file of settings [configs/{task}.yaml]")
    parser.add_argument("--resume", type=Path, metavar="RUN", help="resume an interrupted run, such as runs/seg/<time>")
    return parser


def help_text(task: Task) -> str:
    """Return the options, then every setting with its meaning and default."""
    from bts.apps.settings_parser import make_parser as settings_parser

    parser = settings_parser(task)
    for action in parser._actions:
        if action.dest == "help" or "configuration" in str(action.help):
            action.help = argparse.SUPPRESS
    _, _, settings = parser.format_help().partition("\n\n")
    usage = f"usage: python train_{task}.py [--config FILE] [--resume RUN] [--debug] [--GROUP.SETTING VALUE ...]"
    _, _, options = make_parser(task).format_help().partition("options:\n")
    return f"{usage}\n\noptions:\n{options}\n{settings}"


def resolve_settings(task: Task, options: argparse.Namespace, rest: Sequence[str]) -> Settings:
    """Return the settings of the file with those of the command line on top.

    Where `model.weights` names a model, its encoder and decoder are those of the training unless others are given.
    """
    from bts.apps.settings_parser import Override, from_arguments, from_yaml, read_settings, shipped_config

    typed = from_arguments(rest)
    if options.resume is not None:
        return read_settings(task, [*resumed(options), *typed])
    given = [*from_yaml(options.config or shipped_config(Path(f"{task}.yaml"))), *typed]
    settings = read_settings(task, given)
    weights: str = settings.model.weights  # type: ignore[attr-defined]
    if weights in ("none", "imagenet"):
        return settings
    from bts.models.fine_tune import shared_settings  # imports torch

    shared = {f"model.{name}": value for name, value in shared_settings(weights, task).items()}
    keys = {each.key for each in given}
    return read_settings(task, [*(Override(key, value, weights) for key, value in shared.items() if key not in keys), *given])


def resumed(options: argparse.Namespace) -> list[Override]:
    """Return the settings of the run to resume; `fit` refuses incompatible changes."""
    from bts.apps.settings_parser import from_yaml
    from bts.runs import Run

    if options.config is not None:
        raise RequestError("--config with --resume: a resumed run keeps its own settings, omit --config")
    run = Run(options.resume)
    if not run.settings_file.is_file():
        expected = f"no {run.settings_file.name} in it"
        raise RequestError(f"{options.resume}: not a run ({expected}): expected a folder such as runs/seg/<time>")
    return from_yaml(run.settings_file)


def conclude(task: Task, run: Run, settings: Settings) -> int:
    """Score a finished run, and print its table, best epoch, main scores, and the next commands."""
    from bts.experiments.finish import finish_run

    found = finish_run(run)
    say("\n".join([found["table"], "", *found["summary"]]))
    say(f"\nrun     {run.path}\nmodel   {run.model}   {DISCLAIMER}")
    say(f"report  bts evaluate --{task} {run.path}   writes {run.path / 'report' / 'index.html'}")
    say(f"scan    python infer.py SCAN --{task} {run.path}\ncurves  tensorboard --logdir {settings.runs}")
    return DONE
