"""Benchmarks: `python -m bench NAME`, `all`, or `page RESULTS.jsonl` for the document.

    python -m bench one-scan                # one scan, warm and cold, against the plain way
    python -m bench folder                  # a folder of 500 scans against the bare network
    python -m bench volume                  # a series of 155 slices against 155 single calls
    python -m bench training                # a training against the same step on one fixed batch
    python -m bench reading                 # first epoch, second epoch, second run
    python -m bench growth                  # bootstrap, audit and report as their data double
    python -m bench app                     # the page: drop to picture beside infer.py, memory after 200 uploads
    python -m bench gpu                     # latency and memory of inference on a GPU; bench/gpu.sh adds trainings
    python -m bench hostile --minutes 10    # hostile uploads: does the page still answer, what is left of memory and disk
    python -m bench peers                   # nnU-Net, a plain loop, MONAI and bts on one split (`python -m bench peers --help`)
    python -m bench all                     # one after another, each in a process of its own, into bench.jsonl
    python -m bench page bench.jsonl --out docs/performance_machine.md

Everything is measured on phantoms and random weights that it makes itself in a temporary folder. A table is printed, and one
line of JSON is added to `--out` where it is named. `--quick` takes sizes that show that it works, and no more.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.lines import rows, table
from bench.machine import describe_machine
from bts.apps.run import DONE, SOME_FAILED, OneLineParser, run_app
from bts.errors import RequestError
from bts.registry import suggestion

NAMES = {
    "one-scan": "one_scan",
    "folder": "folder",
    "volume": "volume",
    "training": "training",
    "reading": "reading",
    "growth": "growth",
    "app": "app",
    "gpu": "gpu",
}
"""Name on the command line -> module in this folder, with its title as docstring and `run(work, quick=)`."""
RESULTS = Path("bench.jsonl")


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the arguments name and return the exit status."""
    return run_app(command, argv)


def command(argv: Sequence[str]) -> int:
    """Run a benchmark, all of them, or write the page."""
    if argv[:1] == ["peers"]:
        from bench.peers.command import command as peers

        return peers(argv[1:])
    parser = OneLineParser(prog="python -m bench", description=str(__doc__))
    parser.add_argument("name", metavar="NAME", help=f"{', '.join(NAMES)}, hostile, peers, all, or page")
    parser.add_argument("results", nargs="*", type=Path, metavar="RESULTS", help="with page: files of JSON lines")
    parser.add_argument("--quick", action="store_true", help="smallest sizes: shows that it works, measures nothing")
    parser.add_argument("--minutes", type=float, default=10, metavar="N", help="with hostile: how long [10]")
    parser.add_argument("--most", type=int, default=20_000, metavar="N", help="with hostile: requests at most [20000]")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where the JSON line is added, or the page written")
    parser.add_argument("--work", type=Path, metavar="FOLDER", help="keep phantoms and models there [a temporary folder]")
    options = parser.parse_args(argv)
    if options.name == "page":
        return write_page(options.results, options.out or Path("docs/performance_machine.md"))
    if options.results:
        raise RequestError(f"'{options.results[0]}': only page takes files of results")
    if options.name not in (*NAMES, "hostile", "all"):
        known = [*NAMES, "hostile", "peers", "all", "page"]
        raise RequestError(f"no benchmark '{options.name}'{suggestion(options.name, known)}: there are {', '.join(known)}")
    with tempfile.TemporaryDirectory(prefix="bts-bench-") as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        if options.name == "all":
            return run_all(work, out=options.out or RESULTS, quick=options.quick)
        if options.name == "hostile":
            return run_hostile(work, minutes=options.minutes, most=options.most)
        measure(options.name, work, out=options.out, quick=options.quick)
    return DONE


def run_all(work: Path, *, out: Path, quick: bool) -> int:
    """Run every benchmark in a process of its own, as libraries of one would slow another; return the last bad status."""
    out.unlink(missing_ok=True)
    status = DONE
    for name in NAMES:
        line = [sys.executable, "-m", "bench", name, "--work", str(work), "--out", str(out), *(["--quick"] if quick else [])]
        status = subprocess.run(line, check=False).returncode or status
    return status


def run_hostile(work: Path, *, minutes: float, most: int) -> int:
    """Attack the page, print what came of it, and return 1 where something is not as it must be."""
    from bench.hostile import run

    lines, notes = run(work, minutes=minutes, most=most)
    found = rows(lines)
    print(f"\n{table(found)}\n")
    for note in notes:
        print(f"- {note}")
    return SOME_FAILED if any(row["met"] is False for row in found) else DONE


def measure(name: str, work: Path, *, out: Path | None, quick: bool) -> dict[str, Any]:
    """Run one benchmark, print its table, and return what stands in its line of JSON."""
    warnings.filterwarnings("ignore")  # of libraries, to their own developers
    machine = describe_machine()  # before: afterwards the load is our own
    module = importlib.import_module(f"bench.{NAMES[name]}")
    lines, notes = module.run(work, quick=quick)
    question = str(module.__doc__).partition("\n")[0].rstrip(".")
    found = {"bench": name, "question": question, "quick": quick, "machine": machine, "lines": rows(lines), "notes": notes}
    print(f"\n{question}\n\n{table(found['lines'])}\n")
    for note in notes:
        print(f"- {note}")
    print(f"- {format_machine(machine)}\n")
    print(json.dumps(found))
    if out is not None:
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")
    return found


def format_machine(machine: dict[str, Any]) -> str:
    """Return the machine in one line."""
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    parts = [
        f"{machine['cpu']} ({' '.join(machine['flags']) or 'no wide vectors'})",
        f"{machine['cores']} cores, {machine['threads']} threads, load {machine['load']} at the start",
        f"GPU {machine['gpu'] or 'none'}",
        f"{machine['system']}, Python {machine['python']}, {versions}",
        str(machine["time"]),
    ]
    return "; ".join(parts)


def write_page(results: Sequence[Path], out: Path) -> int:
    """Write the document from files of JSON lines; of one benchmark the last line counts."""
    from bench.page import page, read_results

    if not results:
        raise RequestError("page: name the file that `python -m bench all` has written")
    text = page(read_results(results))
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, out)
    print(f"written: {out}")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
