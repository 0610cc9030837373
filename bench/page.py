"""docs/performance_machine.md from results: the targets line by line, then every table in full."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.lines import cells_of
from bts.errors import RequestError

HEAD = """# Performance with bf16

Speed and memory of one machine, compared with a baseline. Without bf16: [another page](performance_no_bf16.md). Other software:
[Performance](performance.md). Written by `python -m bench page` from the measurements of `make bench`. They use phantoms and
random weights, so that they can be repeated anywhere.

    make bench                                                  # 10 to 17 minutes on two quiet cores, into bench.jsonl
    python -m bench page bench.jsonl --out docs/performance_machine.md
"""
READ = """
Medians of repeated measurements; the quartiles show the spread. A ratio is relative to the line in the last column. Goals
of times are upper limits, goals of rates lower ones. Causes of missed goals: [Experiments](experiments.md#missed-speed-goals).
"""


def read_results(files: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Return the last result of every benchmark, by name.

    Raises:
        RequestError: a file that can't be read, or holds something else.
    """
    found: dict[str, dict[str, Any]] = {}
    for file in files:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
            found |= {each["bench"]: each for each in map(json.loads, filter(str.strip, lines))}
        except OSError as error:
            raise RequestError(f"{file}: can't be read ({error.strerror}): run `python -m bench all --out {file}`") from error
        except (ValueError, KeyError, TypeError) as error:
            raise RequestError(f"{file}: not written by `python -m bench`: name its file of JSON lines") from error
    if not found:
        raise RequestError("no results in the files: run `python -m bench all` first")
    return found


def page(results: dict[str, dict[str, Any]]) -> str:
    """Return the document."""
    parts = [HEAD, "\n## Goals\n\n", _demanded(results), READ]
    if any(result["quick"] for result in results.values()):
        parts.insert(1, "\n**Smallest sizes (`--quick`): these numbers are not meaningful.**\n")
    for result in results.values():
        parts.append(f"\n## {result['question'].rstrip('.')}\n\n{_full(result)}\n")
        parts += [f"- {note}\n" for note in result["notes"]]
    parts.append(f"\n## Machine\n\n{_machines(results)}")
    return "".join(parts)


def _demanded(results: dict[str, dict[str, Any]]) -> str:
    lines = ["| | measured | ratio | goal | reached |", "|---|---|---|---|---|"]
    for result in results.values():
        for row in (row for row in result["lines"] if row["must"] is not None):
            median, _, unit, ratio, _, must, met = cells_of(row)
            lines.append(f"| {row['what']} | {median} {unit} | {ratio} | {must} | {met} |")
    return "\n".join(lines) + "\n"


def _full(result: dict[str, Any]) -> str:
    lines = ["| | median | quartiles | unit | ratio | to |", "|---|---|---|---|---|---|"]
    for row in result["lines"]:
        median, quartiles, unit, ratio, against, _, _ = cells_of(row)
        lines.append(f"| {row['what']} | {median} | {quartiles} | {unit} | {ratio} | {against} |")
    return "\n".join(lines) + "\n"


def _machines(results: dict[str, dict[str, Any]]) -> str:
    lines = []
    for name, result in results.items():
        machine = result["machine"]
        lines.append(
            f"- {name}: {machine['cpu']} ({' '.join(machine['flags'])}), {machine['cores']} cores, {machine['threads']} threads"
            f"; load at the start {machine['load']}; GPU {machine['gpu'] or 'none'}; {machine['time']}\n"
        )
    machine = next(iter(results.values()))["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return "".join(lines) + f"\n{machine['system']}, Python {machine['python']}, {versions}.\n"
