"""`bts preview`: one sheet of slices as the network receives them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bts.apps.run import DONE, OneLineParser
from bts.errors import RequestError

EPILOG = """
examples:
  bts preview configs/recipes/kaggle_resnet50_clahe.yaml --out sheet.png
  bts preview configs/seg.yaml --augment.rotate 180 --augment.fill nearest

Every setting of the task's train_*.py may follow.
"""


def command(argv: Sequence[str]) -> int:
    """Write the sheet and return the exit status."""
    parser = make_parser()
    options, rest = parser.parse_known_args(argv)
    if options.help or options.config is None:
        if options.help:
            print(parser.format_help())
            return DONE
        raise RequestError("expected a settings file, such as configs/cls.yaml")
    from bts.apps.recipe_files import read_recipe

    _, settings = read_recipe(options.config, rest, task=options.task)
    if options.slices < 1 or options.varied < 0:
        raise RequestError(f"--slices {options.slices} --varied {options.varied}: expected 1 or more slices, 0 or more columns")
    from PIL import Image

    from bts.training.pictures import preview

    sheet = preview(settings, slices=options.slices, varied=options.varied)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(options.out)
    print(f"as read, preprocessed, and {options.varied} times varied: {options.out}")
    return DONE


def make_parser() -> OneLineParser:
    """Return the parser of what is no setting."""
    parser = OneLineParser(
        prog="bts preview",
        description="Show slices of a set as read, preprocessed and varied, on one sheet.",
        epilog=EPILOG,
        help_option=False,
    )
    parser.add_argument("-h", "--help", action="store_true", help="show this")
    parser.add_argument("config", nargs="?", type=Path, metavar="CONFIG", help="settings file, such as configs/cls.yaml")
    parser.add_argument("--task", choices=("seg", "cls", "joint"), help="what the settings are for [by name, else cls]")
    parser.add_argument("--slices", type=int, default=6, metavar="N", help="rows, the classes in turn [6]")
    parser.add_argument("--varied", type=int, default=4, metavar="N", help="columns of variations [4]")
    parser.add_argument("--out", type=Path, default=Path("preview.png"), metavar="FILE", help="the sheet [preview.png]")
    return parser
