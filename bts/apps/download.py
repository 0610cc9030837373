"""The `bts download` command: download the figshare set."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from bts.apps.run import DONE, SOME_FAILED, OneLineParser, say
from bts.data.download import FILES, SERVER, download
from bts.glossary import count_of
from bts.progress import Phase, phase

MB = 10**6


class Files(contextlib.ExitStack):
    """A phase for each file, in megabytes."""

    def __init__(self) -> None:
        super().__init__()
        self.name = ""
        self.phase: Phase | None = None

    def show(self, name: str, done: int, total: int) -> None:
        """Show the progress of a file, in bytes; a new name ends the phase of the previous one."""
        if self.phase is None or name != self.name:
            self.close()
            self.name, self.phase = name, self.enter_context(phase(name, -(-total // MB), unit="MB", done=done // MB))
        self.phase.reach(done // MB)


def command(argv: Sequence[str]) -> int:
    """Download the set and return the exit status."""
    size = sum(file.size for file in FILES) / 1e9
    parser = OneLineParser(
        prog="bts download",
        description=f"Download the figshare set ({size:.1f} GB, Cheng 2017, CC BY 4.0). Run again to resume.",
    )
    parser.add_argument("--out", type=Path, default=Path("data/figshare"), metavar="FOLDER", help="folder [data/figshare]")
    parser.add_argument("--keep-archives", action="store_true", help="keep the zip archives beside the slices")
    parser.add_argument(
        "--mirror", default=SERVER, metavar="URL", help=f"base URL of the files, which are named by their number [{SERVER}]"
    )
    options = parser.parse_args(argv)
    with Files() as files:
        report = download(options.out, server=options.mirror, keep_archives=options.keep_archives, progress=files.show)
    for name, reason in report.failed.items():
        say(f"error: {reason if name in reason else f'{name}: {reason}'}", file=sys.stderr)
    counts = f"{count_of(len(report.fetched), 'file')} downloaded, {len(report.present)} already present"
    say(f"{count_of(report.slices, 'slice')} in {options.out}: {counts}")
    return SOME_FAILED if report.failed else DONE
