"""Estimate the time, cost and disk of an archive of scans from scans measured on this machine."""

from __future__ import annotations

import itertools
import os
import resource
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path

from bts.apps.run import DONE, OneLineParser, say
from bts.errors import RequestError
from bts.evaluation.provenance import machine
from bts.inference.inputs import expand
from bts.report.rendering import table
from tools.documents import write_block

BLOCK = "archive"
ROOT = Path(__file__).resolve().parents[1]
FEW = 4
"""The measured scans and one in so many of them are inferred: the difference leaves out the start of the process."""
GIB = 2**30


def command(argv: Sequence[str]) -> int:
    """Measure, estimate, and write or print the table."""
    options = make_parser().parse_args(argv)
    scans = expand([options.scans])[: options.measured]
    if len(scans) < FEW:
        raise RequestError(f"{options.scans}: {len(scans)} scans: expected at least {FEW} to measure")
    with tempfile.TemporaryDirectory() as folder:
        few = scans[: len(scans) // FEW]
        before, after = (infer(given, Path(folder, str(len(given))), options) for given in (few, scans))
        cpu_s = (after - before) / (len(scans) - len(few))
        disk_bytes = sum(used_bytes(Path(folder, str(len(scans))))) / len(scans)
    rows = estimate(cpu_s, disk_bytes, scans=options.count, cores=options.cores, price=options.price)
    how = f"Measured on {len(scans)} scans with one thread: {machine()}."
    text = f"{table(('', ''), rows)}\n\n{how}"
    if options.out is None:
        say(text)
    else:
        write_block(options.out, text, BLOCK)
    return DONE


def infer(scans: Sequence[Path], out: Path, options: Namespace) -> float:
    """Return the processor time, in seconds, of `infer.py` on scans with one thread."""
    before = cpu_of_children()
    call = [
        sys.executable,
        str(ROOT / "infer.py"),
        *map(str, scans),
        "--joint",
        options.joint,
        "--out",
        str(out),
        "--device",
        "cpu",
    ]
    done = subprocess.run(call, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RequestError(f"infer.py failed on {len(scans)} scans: {done.stderr.strip().splitlines()[-1:]}")
    return cpu_of_children() - before


def cpu_of_children() -> float:
    """Return the processor time of the processes that this one has waited for, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def used_bytes(folder: Path) -> Iterator[int]:
    """Yield the disk space of each file and folder below a folder: whole blocks."""
    for here, folders, files in os.walk(folder):
        for name in itertools.chain(folders, files):
            yield os.lstat(Path(here, name)).st_blocks * 512


def estimate(cpu_s: float, disk_bytes: float, *, scans: int, cores: int, price: float) -> list[tuple[str, str]]:
    """Return the rows of the table.

    Args:
        cpu_s: processor time of a scan, in seconds.
        disk_bytes: disk space of its result.
        scans: number of scans of the archive.
        cores: cores that work on it.
        price: price of a core hour.

    >>> estimate(0.36, 2**20, scans=1_000_000, cores=50, price=0.05)[2:4]
    [('core hours of 1,000,000 scans', '100'), ('hours on 50 cores', '2.0')]
    """
    hours = scans * cpu_s / 3600
    return [
        ("processor time of a scan", f"{cpu_s:.3f} s"),
        ("disk space of its result", f"{disk_bytes / 1024:.0f} KiB"),
        (f"core hours of {scans:,} scans", f"{hours:,.0f}"),
        (f"hours on {cores} cores", f"{hours / cores:,.1f}"),
        (f"cost at {price:g} per core hour", f"{hours * price:,.2f}"),
        ("disk space of the results", f"{scans * disk_bytes / GIB:,.0f} GiB"),
    ]


def make_parser() -> OneLineParser:
    """Return the parser."""
    parser = OneLineParser(prog="python -m tools archive", description=__doc__ or "")
    parser.add_argument("scans", type=Path, metavar="FOLDER", help="scans like those of the archive")
    parser.add_argument("--measured", type=int, default=40, metavar="N", help="number of them that are inferred [40]")
    parser.add_argument("--joint", default="joint-mobilenetv2", metavar="MODEL", help="the joint model [joint-mobilenetv2]")
    parser.add_argument("--count", type=int, default=1_000_000, metavar="N", help="scans of the archive [1000000]")
    parser.add_argument("--cores", type=int, default=100, metavar="N", help="cores that work on it [100]")
    parser.add_argument("--price", type=float, default=0.05, metavar="PRICE", help="price of a core hour [0.05]")
    parser.add_argument("--out", type=Path, metavar="FILE", help="document with the block to fill [standard output]")
    return parser
