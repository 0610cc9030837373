"""The `bts preview` command: slices as the network receives them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bts.apps.run import DONE, OneLineParser, say
from bts.errors import RequestError

EPILOG = """
examples:
  bts preview configs/recipes/kaggle_resnet50_clahe.yaml --out sheet.png
  bts preview configs/seg.yaml --augment.rotate 180 --augment.fill nearest

Settings of train_*.py, such as --data.root FOLDER, override those of the file.
"""


def command(argv: Sequence[str]) -> int:
    """Write the sheet and return the exit status."""
    parser = make_parser()
    options, rest = parser.parse_known_args(argv)
    if options.help or options.config is None:
        if options.help:
            say(parser.format_help())
            return DONE
        raise RequestError("expected a settings file, such as configs/cls.yaml")
    from bts.apps.settings_parser import read_recipe

    _, settings = read_recipe(options.config, rest, task=options.task)
    if options.slices < 1 or options.augmented < 0:
        received = f"--slices {options.slices} --augmented {options.augmented}"
        raise RequestError(f"{received}: expected 1 or more slices, 0 or more copies")
    from PIL import Image

    from bts.training.pictures import preview

    contact_sheet = preview(settings, slices=options.slices, n_augmented=options.augmented)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(contact_sheet).save(options.out)
    say(f"slices as read, preprocessed, and {options.augmented} times augmented: {options.out}")
    return DONE


def make_parser() -> OneLineParser:
    """Return the parser of the options that are not settings."""
    parser = OneLineParser(
        prog="bts preview",
        description="Draw slices of a set as read, preprocessed and augmented in one image.",
        epilog=EPILOG,
        help_option=False,
    )
    parser.add_argument("-h", "--help", action="store_true", help="show this help message and exit")
    parser.add_argument("config", nargs="?", type=Path, metavar="CONFIG", help="settings file, such as configs/cls.yaml")
    parser.add_argument("--task", choices=("seg", "cls", "joint"), help="task of the settings [from the file name, else cls]")
    parser.add_argument("--slices", type=int, default=6, metavar="N", help="number of slices, alternating between classes [6]")
    parser.add_argument("--augmented", type=int, default=4, metavar="N", help="number of augmented copies per slice [4]")
    parser.add_argument("--out", type=Path, default=Path("preview.png"), metavar="FILE", help="output file [preview.png]")
    return parser
