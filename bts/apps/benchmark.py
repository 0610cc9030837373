"""The `bts benchmark` command: train recipes on one split and compare them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bts.apps.engine import add_engine_options, map_engine
from bts.apps.run import DONE, OneLineParser, say
from bts.apps.settings_parser import read_recipe
from bts.cluster import Engine
from bts.errors import RequestError
from bts.glossary import DISCLAIMER, TASKS, Task
from bts.runs import Run
from bts.settings import Settings

EPILOG = """
examples:
  bts benchmark configs/recipes/kaggle_backbones_*.yaml --out runs/benchmark/backbones
  bts benchmark configs/recipes/npz_mobilenetv2.yaml configs/recipes/kaggle_resnet50_clahe.yaml
      --data.source folders --data.root data/kaggle
  bts benchmark configs/recipes/kaggle_resnet50_clahe.yaml --data.source manifest
      --data.root data/kaggle/recovered_folders.csv --split.kind ratios --split.leaks refuse

Settings of train_*.py, such as --data.root FOLDER, apply to all recipes. The split is that of the first recipe. The same --out
resumes an interrupted benchmark. The last example trains on a split by the patients that `bts audit --recover` found.
"""


def command(argv: Sequence[str]) -> int:
    """Train, score and compare the recipes, and return the exit status."""
    files, rest = files_first(argv)
    parser = make_parser()
    options, overrides = parser.parse_known_args(rest)
    if options.help:
        say(parser.format_help())
        return DONE
    if not files:
        raise RequestError("expected settings files before the options, such as configs/recipes/kaggle_backbones_*.yaml")
    task, recipes = read_all(files, overrides, task=options.task)
    out = options.out or Path("runs") / "benchmark" / "-".join(recipes)
    say(train_all(task, recipes, out, engine=map_engine(options)))
    say(f"table   {out / 'benchmark.md'}, {out / 'benchmark.csv'}   {DISCLAIMER}\nnext    tensorboard --logdir {out}")
    return DONE


def train_all(task: Task, recipes: dict[str, Settings], out: Path, *, engine: Engine[Settings, Run] = map) -> str:
    """Train, score and compare the recipes; return the table."""
    from bts.audit.gate import gate
    from bts.experiments.benchmark import benchmark
    from bts.training.fit import fit

    first = next(iter(recipes.values()))
    return benchmark(recipes, task, out, train=partial(fit, check=gate(first)), seed=first.seed, engine=engine).table


def files_first(argv: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Return the files before the first option, and the remaining arguments."""
    count = next((place for place, word in enumerate(argv) if word.startswith("-")), len(argv))
    return [Path(word) for word in argv[:count]], list(argv[count:])


def read_all(files: Sequence[Path], rest: Sequence[str], *, task: Task | None = None) -> tuple[Task, dict[str, Settings]]:
    """Return the common task of all recipes, and their settings by file name."""
    tasks, recipes = {}, {}
    for path in files:
        if path.stem in recipes:
            raise RequestError(f"{path}: two recipes are called '{path.stem}': give each file its own name")
        tasks[path.stem], recipes[path.stem] = read_recipe(path, rest, task=task)
    if len(set(tasks.values())) > 1:
        found = ", ".join(f"{name} is for {each}" for name, each in tasks.items())
        raise RequestError(f"recipes of several tasks can't be compared ({found}): choose those of one")
    return next(iter(tasks.values())), recipes


def make_parser() -> OneLineParser:
    """Return the parser of the options that are not settings."""
    parser = OneLineParser(
        prog="bts benchmark",
        description="Train recipes in turn on one split, score them on its test part, and compare them.",
        epilog=EPILOG,
        help_option=False,
    )
    parser.usage = "bts benchmark RECIPE [RECIPE ...] [--task TASK] [--out FOLDER] [--GROUP.SETTING VALUE ...]"
    parser.add_argument("-h", "--help", action="store_true", help="show this help message and exit")
    parser.add_argument("--task", choices=TASKS, help="task of the recipes [from the file names, else cls]")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder of runs and tables [runs/benchmark/RECIPES]")
    add_engine_options(parser, each="training")
    return parser
