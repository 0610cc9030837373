"""`bts download`: fetch the figshare set."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from bts.apps.run import DONE, SOME_FAILED, OneLineParser
from bts.data.download import FILES, SERVER, download


class Bars:
    """A progress bar for each file."""

    def __init__(self) -> None:
        self.bar: tqdm | None = None
        self.name = ""

    def show(self, name: str, done: int, total: int) -> None:
        """Draw where a file stands; a new name closes the last bar."""
        if self.bar is None or name != self.name:
            self.close()
            self.name = name
            self.bar = tqdm(total=total, initial=done, desc=name, unit="B", unit_scale=True, disable=None)
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        """Leave the last bar as it is."""
        if self.bar is not None:
            self.bar.close()


def command(argv: Sequence[str]) -> int:
    """Download the set and return the exit status."""
    size = sum(file.size for file in FILES) / 1e9
    parser = OneLineParser(
        prog="bts download",
        description=f"Fetch the figshare set ({size:.1f} GB, Cheng 2017, CC BY 4.0); run again to go on where it stopped.",
    )
    parser.add_argument("--out", type=Path, default=Path("data/figshare"), metavar="FOLDER", help="[data/figshare]")
    parser.add_argument("--keep-archives", action="store_true", help="keep the zip archives beside the slices")
    parser.add_argument(
        "--mirror", default=SERVER, metavar="URL", help=f"address under which each file lies by its number [{SERVER}]"
    )
    options = parser.parse_args(argv)
    bars = Bars()
    try:
        report = download(options.out, server=options.mirror, keep_archives=options.keep_archives, progress=bars.show)
    finally:
        bars.close()
    for name, reason in report.failed.items():
        print(f"error: {reason if name in reason else f'{name}: {reason}'}", file=sys.stderr)
    print(f"{report.slices} slices in {options.out}: {len(report.fetched)} files fetched, {len(report.present)} there already")
    return SOME_FAILED if report.failed else DONE
