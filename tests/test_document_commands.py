"""Every command line of the documents is accepted by the program's own parser; nothing is run."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bts.apps import cli
from bts.apps.run import OneLineParser
from bts.apps.settings_parser import from_arguments, read_settings
from bts.glossary import TASKS

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "data" / "README.md"])
WORDLESS = {"-h", "--help", "--version", "-V"}


class Parsed(Exception):
    """The parser took the command line; nothing is to be done with it here."""


def command_lines(document: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield subcommand and arguments of each `bts`, `python infer.py` and `python train_*.py` line in indented blocks."""
    for line in document.read_text(encoding="utf-8").splitlines():
        if not line.startswith("    "):
            continue
        text = line.strip().replace("<time>", "TIME").replace("\\", "\\\\")
        words = shlex.split(text, comments=True) if re.match(r"(bts|python) ", text) else []
        if words[:1] == ["bts"] and len(words) > 1:
            yield words[1], words[2:]
        elif words[:1] == ["python"] and words[1:] and (found := re.fullmatch(r"(infer|train)_?(\w*)\.py", words[1])):
            yield found[1], [*([found[2]] if found[2] else []), *words[2:]]


CASES = [
    pytest.param(name, arguments, id=f"{document.relative_to(ROOT).as_posix()}: {name} {' '.join(arguments)}")
    for document in DOCUMENTS
    for name, arguments in command_lines(document)
]


def test_there_are_command_lines_to_check() -> None:
    assert len(CASES) > 40


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_the_program_takes_the_command_line(name: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if not name[0].isalpha() or WORDLESS & set(arguments):
        return  # help and version are tested with the commands
    assert name in cli.COMMANDS
    parse = OneLineParser.parse_known_args

    def parse_and_stop(self: OneLineParser, *given: Any, **named: Any) -> Any:
        options, rest = parse(self, *given, **named)
        raise Parsed(options, rest)

    monkeypatch.setattr(OneLineParser, "parse_known_args", parse_and_stop)
    with pytest.raises(Parsed) as stopped:
        importlib.import_module(f"bts.apps.{name}").command(arguments)
    rest = stopped.value.args[1]
    if name == "train":
        task = next(each for each in TASKS if each == arguments[0])
        read_settings(task, from_arguments(rest))
    elif name not in ("crossval", "benchmark", "preview"):  # these hand the rest on, as settings of a training
        assert rest == []
