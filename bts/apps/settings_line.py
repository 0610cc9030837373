"""Which settings does a user ask for, in a YAML file and on the command line, and what is wrong with them?

Every mistake is told at once: unknown names with the nearest known one, wrong types, and values that make no sense.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, set_parsing_settings

from bts.errors import RequestError
from bts.glossary import Task
from bts.registry import suggestion
from bts.settings import SETTINGS, Settings
from bts.settings_check import check


@dataclasses.dataclass(frozen=True)
class Given:
    """One setting as a user gave it: `key` such as `optim.lr`, and where it was said."""

    key: str
    value: Any
    where: str


def read_settings(task: Task, given: Sequence[Given]) -> Settings:
    """Return the settings of a task with `given` laid over the defaults, later ones over earlier ones.

    Raises `RequestError` that names every mistake.
    """
    parser = make_parser(task)
    mistakes = [message for each in given if (message := mistake(parser, task, each))]
    if mistakes:
        raise RequestError(told_at_once(mistakes))
    asked = parser.parse_object(nested({each.key: each.value for each in given}))
    parts = vars(parser.instantiate(asked))
    settings = SETTINGS[task](**{each.name: parts[each.name] for each in dataclasses.fields(SETTINGS[task])})
    if mistakes := check(settings):
        raise RequestError(told_at_once(mistakes))
    return settings


def told_at_once(mistakes: Sequence[str]) -> str:
    """Return all mistakes as one line."""
    count = f"{len(mistakes)} settings are wrong: " if len(mistakes) > 1 else ""
    return count + "; ".join(mistakes)


def make_parser(task: Task) -> ArgumentParser:
    """Return a parser of all settings of a task, with the attribute docstrings as help."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(prog=f"train_{task}.py", exit_on_error=False)
    parser.add_class_arguments(SETTINGS[task])
    return parser


def known_settings(task: Task) -> dict[str, Any]:
    """Return the type of each setting by its whole name, such as `optim.lr`."""

    def walk(kind: type, prefix: str) -> Iterator[tuple[str, Any]]:
        hints = typing.get_type_hints(kind)
        for each in dataclasses.fields(kind):
            if dataclasses.is_dataclass(hints[each.name]):
                yield from walk(hints[each.name], f"{prefix}{each.name}.")
            else:
                yield prefix + each.name, hints[each.name]

    return dict(walk(SETTINGS[task], ""))


def mistake(parser: ArgumentParser, task: Task, given: Given) -> str | None:
    """Return what is wrong with one setting by itself, or None."""
    known = known_settings(task)
    if given.key not in known:
        inside = [key for key in known if key.startswith(f"{given.key}.")]
        if inside:
            return f"'{given.key}' is a group ({given.where}): set one of {', '.join(inside)}"
        return f"unknown setting '{given.key}'{nearest(given.key, known)} ({given.where})"
    try:
        right = given.value is not None or types.NoneType in typing.get_args(known[given.key])
        parser.parse_object(nested({given.key: given.value}))
    except Exception:  # whatever jsonargparse raises over one value, the value is what's wrong
        right = False
    if not right:
        return f"{given.key}: expected {expectation(known[given.key])}, received {given.value!r} ({given.where})"
    return None


def nearest(key: str, known: dict[str, Any]) -> str:
    """Return a suggestion for a whole name, also where only the group was left out or mistaken."""
    last = key.split(".")[-1]
    same = [each for each in known if each.split(".")[-1] == last]
    return f" (did you mean '{same[0]}'?)" if same else suggestion(key, known)


def expectation(hint: Any) -> str:
    """Return a type in a user's words.

    >>> expectation(int | None), expectation(typing.Literal["mean", "sum"])
    ('a whole number or null', "'mean' or 'sum'")
    """
    plain = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", types.NoneType: "null"}
    if hint in plain:
        return plain[hint]
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(repr(each) for each in arguments)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(expectation(each) for each in arguments)
    return "a list of whole numbers such as [64, 32]" if typing.get_origin(hint) is tuple else str(hint)


def from_yaml(path: Path) -> list[Given]:
    """Return the settings of a YAML file; raises `RequestError` where it can't be read."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RequestError(f"{path}: no such settings file: check --config") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{path}: can't be read as settings ({error.__class__.__name__}): check --config") from error
    except yaml.YAMLError as error:
        raise RequestError(f"{path}: no valid YAML: {' '.join(str(error).split())}") from error
    if content is not None and not isinstance(content, dict):
        raise RequestError(f"{path}: expected settings such as `optim: {{lr: 3e-4}}`, received {type(content).__name__}")
    return [Given(key, value, str(path)) for key, value in flattened(content or {})]


def flattened(content: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield `("optim.lr", value)` for each leaf; an empty group yields nothing.

    >>> list(flattened({"optim": {"lr": 1}, "seed": 2}))
    [('optim.lr', 1), ('seed', 2)]
    """
    for name, value in content.items():
        if isinstance(value, dict):
            yield from flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def from_arguments(arguments: Sequence[str]) -> list[Given]:
    """Return the settings of a command line: `--optim.lr 3e-4` or `--optim.lr=3e-4`."""
    given, rest = [], list(arguments)
    while rest:
        name = rest.pop(0)
        if not name.startswith("--"):
            raise RequestError(f"'{name}' stands where a setting is expected: write `--optim.lr 3e-4`")
        name, equals, text = name[2:].partition("=")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise RequestError(f"--{name} has no value: write `--{name} VALUE`")
            text = rest.pop(0)
        given.append(Given(name, text, "command line"))
    return given


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """Return `{"optim": {"lr": 1}}` for `{"optim.lr": 1}`."""
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *groups, leaf = key.split(".")
        branch = tree
        for group in groups:
            branch = branch.setdefault(group, {})
        branch[leaf] = value
    return tree
