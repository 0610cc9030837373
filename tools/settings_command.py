"""Which settings are there? The reference page of the documentation, written from the settings themselves."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bts.apps.run import DONE, OneLineParser
from bts.apps.settings_line import expectation, known_settings, make_parser
from bts.settings import SETTINGS
from bts.settings_check import RULES, leaves

HEAD = """# Settings

For everyone who trains: each setting, what it takes, and its default. Written by `python -m tools settings`.

Set one on the command line (`--optim.lr 3e-4`) or in a YAML file (`optim: {lr: 3e-4}`); the files in `configs/` hold what the
shipped trainings change.
"""
TABLE = ("| setting | takes | default | meaning |", "|---|---|---|---|")


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
    hints = typing.get_type_hints(SETTINGS[task])
    for key, hint in known_settings(task).items():
        group = key.split(".")[0] if "." in key else ""
        title = (inspect.getdoc(hints[group]) or "").splitlines()[0] if group else ""
        yield group, title, (f"`{key}`", takes(key, hint), f"`{written(defaults[key])}`", meanings[key])


def table(found: dict[tuple[str, ...], list[str]]) -> Iterator[str]:
    """Yield the lines of one table."""
    for cells, tasks in found.items():
        only = "" if len(tasks) == len(SETTINGS) else f" ({', '.join(tasks)} only)"
        yield f"| {' | '.join(cells)}{only} |"


def takes(key: str, hint: Any) -> str:
    """Return what a setting takes: the rule about its number, or its type."""
    if key not in RULES:
        return expectation(hint).replace("'", "`")
    return RULES[key].words + (" or null" if type(None) in typing.get_args(hint) else "")


def written(value: Any) -> str:
    """Return a default as YAML has it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return str(list(value))
    return '""' if value == "" else str(value)
