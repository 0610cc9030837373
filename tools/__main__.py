"""Write the project's own documents, figures and bundled model; run from a clone as `python -m tools COMMAND`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from bts.apps.run import DONE, run_app
from bts.errors import RequestError
from bts.registry import suggestion

COMMANDS = {
    "box": "put a finished run's model into the package",
    "outside": "fit the out-of-distribution reference of a model and count what it flags",
    "figure": "draw scan, truth, prediction and Grad-CAM side by side",
    "settings": "write docs/settings.md",
    "results": "write the scores of finished runs into the documents",
    "licences": "write docs/licences.md",
    "vulnerabilities": "ask for known vulnerabilities of the pinned packages",
    "secrets": "look for passwords and keys in the files of the repository",  # pragma: allowlist secret
}
"""Command -> what it does. `python -m tools NAME` runs `command(argv) -> exit status` of `tools/NAME_command.py`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status."""
    return run_app(dispatch, argv)


def dispatch(argv: Sequence[str]) -> int:
    """Run the command that the first argument names."""
    name, rest = (argv[0], argv[1:]) if argv else ("--help", [])
    if name in ("-h", "--help"):
        rows = "\n".join(f"  {name:<16} {does}" for name, does in COMMANDS.items())
        print(f"usage: python -m tools COMMAND [OPTIONS]\n\n{rows}")
        return DONE
    if name not in COMMANDS:
        raise RequestError(f"unknown command '{name}'{suggestion(name, COMMANDS)}: choose one of {', '.join(COMMANDS)}")
    return int(importlib.import_module(f"tools.{name}_command").command(rest))


if __name__ == "__main__":
    sys.exit(main())
