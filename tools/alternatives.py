"""Write the comparison with other software from `alternatives.json`: docs/alternatives.md, and its short table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bts.apps.run import DONE, OneLineParser
from bts.report.rendering import table
from tools.documents import write_block

DATA = Path(__file__).with_name("alternatives.json")
BLOCK = "alternatives"
HEAD = (
    "# Alternatives\n\nSoftware for the same and for neighbouring tasks, and when to choose it. Checked on {checked}; "
    "`python -m tools alternatives` writes this page\nfrom `tools/alternatives.json`. Listed is open software that segments or "
    "classifies brain tumours, or that a reader is likely to compare with this\nproject. Each line names its source. "
    "Corrections are welcome."
)


def command(argv: Sequence[str]) -> int:
    """Write the page and the short table, and return the exit status."""
    parser = OneLineParser(
        prog="python -m tools alternatives",
        description="Write the comparison with other software into docs/alternatives.md and README.md.",
    )
    parser.add_argument("--out", type=Path, default=Path("docs/alternatives.md"), metavar="FILE", help="[docs/alternatives.md]")
    parser.add_argument("--readme", type=Path, metavar="FILE", help="also write the short table into this file")
    options = parser.parse_args(argv)
    found = json.loads(DATA.read_text(encoding="utf-8"))
    options.out.write_text(page(found), encoding="utf-8")
    if options.readme is not None:
        write_block(options.readme, short_table(found), BLOCK)
    print(f"{len(found['tools'])} programs are in {options.out}")
    return DONE


def page(found: dict[str, Any]) -> str:
    """Return the whole page."""
    parts = [HEAD.format(checked=found["checked"]), short_table(found)]
    for tool in found["tools"]:
        lines = [f"## {tool['name']}", "", f"Version: {tool['version']}. Licence: {tool['licence']}.", "", "Offers:", ""]
        lines += [f"- {text} [Source]({source})" for text, source in tool["offers"]]
        lines += ["", "Limits:", "", *(f"- {text} [Source]({source})" for text, source in tool["other"])]
        parts.append("\n".join(lines))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def short_table(found: dict[str, Any]) -> str:
    """Return what each program offers that the others do not, and when to choose it."""
    head = ("", "offers what the others do not", "choose it if")
    return table(head, [(tool["name"], tool["short"], tool["choose"]) for tool in found["tools"]])
