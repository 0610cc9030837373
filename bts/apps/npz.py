"""The `bts npz` command: convert a set to `.npz` files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bts.apps.audit import open_sets
from bts.apps.run import DONE, OneLineParser, say
from bts.glossary import count_of

EPILOG = """
examples:
  bts npz folders:data/kaggle --out data/kaggle_npz      Training and Testing become train.npz and test.npz
  bts npz data/my_classes --out data/mine.npz            class folders without parts become one file
  python train_cls.py --data.source npz --data.root data/kaggle_npz --split.kind published
"""


def command(argv: Sequence[str]) -> int:
    """Write the files, print the number of slices in each, and return the exit status."""
    parser = OneLineParser(
        prog="bts npz",
        description="Convert a set to .npz arrays: square 8-bit images, class names, and patients if all are known.",
        epilog=EPILOG,
    )
    parser.add_argument(
        "set", metavar="SOURCE", help="NAME:FOLDER (`bts sources` lists the names), or a folder of class folders"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="PATH", help="output folder (a file per part), or one .npz file"
    )
    parser.add_argument("--size", type=int, default=224, metavar="PX", help="side length of the images, a multiple of 32 [224]")
    options = parser.parse_args(argv)
    from bts.data.npz_files import write_npz

    (one,) = open_sets([options.set])
    for path, count in write_npz(one.source, options.out, size=options.size).items():
        say(f"{count_of(count, 'slice'):>13} in {path}")
    say(f"train with --data.source npz --data.root {options.out}")
    return DONE
