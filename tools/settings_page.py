"""Reference page of all settings, written from their definitions."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bts.apps.run import DONE, OneLineParser
from bts.apps.settings_parser import make_parser
from bts.fields import expectation, hints, leaf_hints, leaves
from bts.settings import SETTINGS

HEAD = """# Settings

For everyone who trains: all settings with accepted values, default and meaning. Written by `python -m tools settings`.

Set them on the command line (`--optim.lr 3e-4`) or in a YAML file (`optim: {lr: 3e-4}`). The files in `configs/` hold what the
shipped trainings change.
"""
TABLE = ("| setting | accepted values | default | meaning |", "|---|---|---|---|")


def command(argv: Sequence[str]) -> int:
    """Write the reference page of all settings and return the exit status."""
    parser = OneLineParser(prog="python -m tools settings", description="Write the page that explains every setting.")
    parser.add_argument("--out", type=Path, default=Path("docs/settings.md"), metavar="FILE", help="[docs/settings.md]")
    options = parser.parse_args(argv)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(page(), encoding="utf-8")
    print(f"every setting is explained in {options.out}")
    return DONE


def page() -> str:
    """Return the page as Markdown: a table for each group, with the tasks of a row that is not for all."""
    titles: dict[str, dict[str, None]] = {}
    tables: dict[str, dict[tuple[str, ...], list[str]]] = {}
    for task in SETTINGS:
        for group, title, cells in rows(task):
            titles.setdefault(group, {})[title] = None
            tables.setdefault(group, {}).setdefault(cells, []).append(task)
    sections = [
        "\n".join(
            [f"## {group or 'Everything else'}", "", *([" / ".join(titles[group]), ""] if group else []), *TABLE, *table(found)]
        )
        for group, found in tables.items()
    ]
    return HEAD + "\n" + "\n\n".join(sections) + "\n"


def rows(task: Any) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield group, title of the group, and the four cells of each setting of a task."""
    defaults = dict(leaves(SETTINGS[task]()))
    meanings = {action.dest: " ".join(str(action.help).split()) for action in make_parser(task)._actions}
    groups = hints(SETTINGS[task])
    for key, hint in leaf_hints(SETTINGS[task]):
        group = key.split(".")[0] if "." in key else ""
        title = (inspect.getdoc(groups[group]) or "").splitlines()[0] if group else ""
        accepted = expectation(hint).replace("'", "`")
        yield group, title, (f"`{key}`", accepted, f"`{written(defaults[key])}`", meanings[key])


def table(found: dict[tuple[str, ...], list[str]]) -> Iterator[str]:
    """Yield the lines of one table."""
    for cells, tasks in found.items():
        only = "" if len(tasks) == len(SETTINGS) else f" ({', '.join(tasks)} only)"
        yield f"| {' | '.join(cells)}{only} |"


def written(value: Any) -> str:
    """Return a default as YAML has it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return str(list(value))
    return '""' if value == "" else str(value)
