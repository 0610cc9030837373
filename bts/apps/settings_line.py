"""Settings from YAML files and the command line.

All mistakes are reported at once: unknown names with the nearest known one, wrong types, and values out of range.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace, set_parsing_settings

from bts.errors import RequestError
from bts.fields import expectation, has_type, leaf_hints, problems
from bts.glossary import Task
from bts.registry import suggestion
from bts.settings import SETTINGS, Settings


@dataclasses.dataclass(frozen=True)
class Given:
    """One setting as a user gave it: `key` such as `optim.lr`, and where it was given."""

    key: str
    value: Any
    where: str


def read_settings(task: Task, given: Sequence[Given]) -> Settings:
    """Return the settings of a task with `given` laid over the defaults, later ones over earlier ones.

    Raises `RequestError` that names every mistake.
    """
    parser = make_parser(task)
    known = dict(leaf_hints(SETTINGS[task]))
    asked = parsed(parser, known, given)
    later = {each.key: each for each in given}
    doubtful = given if asked is None else [each for each in given if each is not later[each.key]]
    if mistakes := [message for each in doubtful if (message := mistake(parser, known, each))]:
        raise RequestError(in_one_line(mistakes))
    assert asked is not None  # values that are right by themselves are right together
    parts = vars(parser.instantiate(asked))
    settings = SETTINGS[task](**{each.name: parts[each.name] for each in dataclasses.fields(SETTINGS[task])})
    if mistakes := problems(settings):
        raise RequestError(in_one_line(mistakes))
    return settings


def in_one_line(mistakes: Sequence[str]) -> str:
    """Return all mistakes as one line."""
    count = f"{len(mistakes)} settings are wrong: " if len(mistakes) > 1 else ""
    return count + "; ".join(mistakes)


@functools.cache  # its construction reads the source of every settings class
def make_parser(task: Task) -> ArgumentParser:
    """Return a parser of all settings of a task, with the attribute docstrings as help."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(prog=f"train_{task}.py", exit_on_error=False)
    parser.add_class_arguments(SETTINGS[task])
    return parser


def parsed(parser: ArgumentParser, known: Mapping[str, Any], given: Sequence[Given]) -> Namespace | None:
    """Return all settings, parsed at once since a parse takes 20 ms, or None if one of them is wrong."""
    if not all(each.key in known and (each.value is not None or has_type(known[each.key], None)) for each in given):
        return None
    try:
        return parser.parse_object(nested({each.key: each.value for each in given}))
    except Exception:  # jsonargparse raises exceptions of several kinds
        return None


def mistake(parser: ArgumentParser, known: Mapping[str, Any], given: Given) -> str | None:
    """Return what is wrong with one setting by itself, or None."""
    if given.key not in known:
        inside = [key for key in known if key.startswith(f"{given.key}.")]
        if inside:
            return f"'{given.key}' is a group ({given.where}): set one of {', '.join(inside)}"
        return f"unknown setting '{given.key}'{nearest(given.key, known)} ({given.where})"
    hint = known[given.key]
    try:
        right = given.value is not None or has_type(hint, None)
        parser.parse_object(nested({given.key: given.value}))
    except Exception:  # jsonargparse raises exceptions of several kinds; the only cause can be this value
        right = False
    if not right:
        return f"{given.key}: expected {expectation(hint)}, received {given.value!r} ({given.where})"
    return None


def nearest(key: str, known: Mapping[str, Any]) -> str:
    """Return the nearest known name, also where only the group is missing or wrong."""
    last = key.split(".")[-1]
    same = [each for each in known if each.split(".")[-1] == last]
    return f" (did you mean '{same[0]}'?)" if same else suggestion(key, known)


CONFIGS = "configs"
"""Folder of the shipped settings files, in the clone and in an installed package."""


def shipped_config(name: Path) -> Path:
    """Return a settings file that comes with the package: the same in an installed package and in a clone of it."""
    installed = Path(__file__).resolve().parents[1] / CONFIGS
    return (installed if installed.is_dir() else installed.parents[1] / CONFIGS) / name


def from_yaml(path: Path) -> list[Given]:
    """Return the settings of a YAML file; raises `RequestError` if it cannot be read.

    A path such as `configs/seg.yaml` that is not in the working folder is that of the shipped file.
    """
    if path.parts[:1] == (CONFIGS,) and not path.exists() and ".." not in path.parts:
        shipped = shipped_config(Path(*path.parts[1:]))
        path = shipped if shipped.is_file() else path
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
