"""The `bts` command: one file per subcommand, imported on use."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import NoReturn

import bts
from bts.apps.run import DONE, run_app, run_program
from bts.errors import RequestError
from bts.glossary import DISCLAIMER
from bts.registry import suggestion

COMMANDS = {
    "download": "download the figshare set (0.9 GB) into data/figshare",
    "phantom": "write a synthetic set in figshare's layout",
    "manifest": "combine several sets, such as tumours of one and healthy slices of another",
    "npz": "convert a set to .npz arrays",
    "sources": "list the data sources, or count the slices of one",
    "audit": "check splits and sets for leakage and confounding",
    "preview": "show slices as read, preprocessed and augmented",
    "train": "train a model: `bts train seg`, `bts train cls`, `bts train joint`",
    "infer": "predict mask, class and class activation map of scans",
    "dicomweb": "fetch a study from a PACS, predict, and send the results back",
    "app": "serve a web page that shows mask, class and class activation map of scans",
    "models": "list the models and the default one",
    "export": "export a model to ONNX, OpenVINO or a MONAI bundle",
    "push": "publish a model on the Hugging Face hub",
    "card": "write the model card of a run: data, scores, failures, limits",
    "evaluate": "score models on unseen patients and write a report with intervals",
    "compare": "compare scored runs, paired over patients",
    "crossval": "train and score every fold, and pool all patients in one report",
    "benchmark": "train recipes on one split and compare them in one table",
}
"""Subcommand -> description. `bts NAME` runs `command(argv) -> exit status` of `bts/apps/NAME.py`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand and return the exit status."""
    return run_app(dispatch, argv)


def dispatch(argv: Sequence[str]) -> int:
    """Run the subcommand named by the first argument."""
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
    """Return the text of `bts --help`."""
    rows = "\n".join(f"  {name:<10} {does}" for name, does in COMMANDS.items())
    return (
        f"usage: bts COMMAND [OPTIONS]     bts COMMAND --help     bts --version\n\n"
        f"Brain tumour segmentation and classification of MRI slices. {DISCLAIMER}\n\n{rows}"
    )


def run() -> NoReturn:
    """Run the `bts` command of this process."""
    run_program(main)


if __name__ == "__main__":
    run()
