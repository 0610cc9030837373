"""Write the project's documents, figures and bundled model; run from a clone as `python -m tools COMMAND`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from bts.apps.run import DONE, run_app
from bts.errors import RequestError
from bts.registry import suggestion

COMMANDS = {
    "results": ("tools.results", "write the scores of finished runs into the documents"),
    "leak-gap": ("tools.leak_gap", "write what the leakage of patients adds to the accuracy, with its figure"),
    "settings": ("tools.settings_page", "write docs/settings.md"),
    "figure": ("tools.figure", "draw scan, truth, prediction and Grad-CAM side by side"),
    "elsewhere": ("tools.elsewhere", "compare models on other publishers, on counterfactual slices and at home"),
    "ablation": ("tools.ablation", "compare networks by what they reach in the same training time"),
    "contributions": ("tools.contributions", "compare models trained without a part of a recipe with the whole one"),
    "ood": ("tools.ood", "fit the out-of-distribution reference of a model and count what it flags"),
    "volumes": ("tools.volumes", "score volumes decided slice by slice and as a whole, on series with masks"),
    "archive": ("tools.archive", "estimate time, cost and disk of an archive of scans from measured ones"),
    "bundle": ("tools.bundle", "put the model of a finished run into the package"),
    "alternatives": ("tools.alternatives", "write docs/alternatives.md"),
    "readme": ("tools.readme", "write the scores of the bundled model into README.md"),
    "licences": ("tools.licences_command", "write docs/licences.md"),
    "notebooks": ("tools.notebooks", "run the notebooks from top to bottom"),
    "links": ("tools.links", "check the links between the documents and of the built site"),
    "vulnerabilities": ("tools.vulnerabilities_command", "check the pinned packages for known vulnerabilities"),
    "secrets": ("tools.secrets_command", "search the repository for passwords and keys"),  # pragma: allowlist secret
}
"""Command -> module with `command(argv) -> exit status`, and description."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status."""
    return run_app(dispatch, argv)


def dispatch(argv: Sequence[str]) -> int:
    """Run the command named by the first argument."""
    name, rest = (argv[0], argv[1:]) if argv else ("--help", [])
    if name in ("-h", "--help"):
        rows = "\n".join(f"  {name:<16} {text}" for name, (_, text) in COMMANDS.items())
        print(f"usage: python -m tools COMMAND [OPTIONS]\n\n{rows}")
        return DONE
    if name not in COMMANDS:
        raise RequestError(f"unknown command '{name}'{suggestion(name, COMMANDS)}: choose one of {', '.join(COMMANDS)}")
    return int(importlib.import_module(COMMANDS[name][0]).command(rest))


if __name__ == "__main__":
    sys.exit(main())
