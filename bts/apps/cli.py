"""What can the `bts` command do? One small file per subcommand, imported only when it is asked for."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import bts
from bts.apps.run import DONE, run_app
from bts.errors import RequestError
from bts.glossary import DISCLAIMER
from bts.registry import suggestion

COMMANDS = {
    "download": "fetch the figshare set (0.9 GB) into data/figshare",
    "phantom": "write a synthetic set in figshare's layout",
    "manifest": "write one table of several sets, such as tumours of one and healthy slices of another",
    "npz": "write class folders as train.npz and test.npz",
    "preview": "show slices as read, preprocessed and varied on one sheet",
    "sources": "list the data sources, or count what one holds",
    "train": "train a model: `bts train seg`, `bts train cls`",
    "infer": "mask, class and Grad-CAM of scans",
    "app": "a page in the browser: drop a scan, see mask, class and Grad-CAM",
    "models": "list the models that are there, and which answers when none is named",
    "export": "write a model as one ONNX file, for OpenVINO, or as a MONAI bundle",
    "card": "write the model card of a run: data, scores, failures, limits",
    "evaluate": "score models on unseen patients: a report with intervals on one page",
    "crossval": "train and score every fold, one report over all patients",
    "benchmark": "train recipes one after another on one split, and compare them in one table",
    "compare": "compare scored runs, paired over patients",
    "audit": "find patients and pictures on two sides of a split",
}
"""Subcommand -> what it does. `bts NAME` runs `command(argv) -> exit status` of `bts/apps/NAME.py`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand and return the exit status."""
    return run_app(dispatch, argv)


def dispatch(argv: Sequence[str]) -> int:
    """Run the subcommand that the first argument names."""
    name, rest = (argv[0], argv[1:]) if argv else ("--help", [])
    if name in ("-h", "--help", "help"):
        print(help_text())
        return DONE
    if name in ("-V", "--version"):
        print(f"bts {bts.__version__}")
        return DONE
    if name not in COMMANDS:
        raise RequestError(f"unknown command '{name}'{suggestion(name, COMMANDS)}: choose one of {', '.join(COMMANDS)}")
    app = importlib.import_module(f"bts.apps.{name}")
    return int(app.command(rest))


def help_text() -> str:
    """Return what `bts --help` prints."""
    rows = "\n".join(f"  {name:<10} {does}" for name, does in COMMANDS.items())
    return (
        f"usage: bts COMMAND [OPTIONS]     bts COMMAND --help     bts --version\n\n"
        f"Brain tumour segmentation and classification of MRI slices. {DISCLAIMER}\n\n{rows}"
    )


if __name__ == "__main__":
    sys.exit(main())
