"""Settings from YAML files and the command line.

All mistakes are reported at once: unknown names with the nearest known one, wrong types, and values out of range.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace, set_parsing_settings

from bts.errors import RequestError
from bts.fields import expectation, has_type, leaf_hints, problems
from bts.glossary import Task
from bts.registry import suggestion
from bts.settings import NAME_KEYS, SETTINGS, Settings


@dataclasses.dataclass(frozen=True)
class Override:
    """A value that overrides a default: `key` such as `optim.lr`, and `where` it was given."""

    key: str
    value: Any
    where: str


def read_settings(task: Task, overrides: Sequence[Override]) -> Settings:
    """Return the settings of a task with overrides applied in order; raises `RequestError` that names every mistake."""
    parser = make_parser(task)
    known = dict(leaf_hints(SETTINGS[task]))
    parsed = parse_all(parser, known, overrides)
    last = {each.key: each for each in overrides}
    suspects = overrides if parsed is None else [each for each in overrides if each is not last[each.key]]
    if mistakes := [message for each in suspects if (message := find_mistake(parser, known, each))]:
        raise RequestError(join_mistakes(mistakes, overrides))
    assert parsed is not None  # values that are valid separately are valid together
    parts = vars(parser.instantiate(parsed))
    settings = SETTINGS[task](**{each.name: parts[each.name] for each in dataclasses.fields(SETTINGS[task])})
    if mistakes := problems(settings):
        raise RequestError(join_mistakes(mistakes, overrides))
    return settings


def join_mistakes(mistakes: Sequence[str], overrides: Sequence[Override]) -> str:
    """Return all mistakes in one line, with unknown names, which are otherwise refused when the training is planned."""
    if names := {each.key: each.value for each in overrides if each.key in NAME_KEYS}:
        from bts.training.tasks import adopt_names  # imports torch

        mistakes = [*mistakes, *adopt_names(names, mistakes)]
    count = f"{len(mistakes)} settings are wrong: " if len(mistakes) > 1 else ""
    return count + "; ".join(mistakes)


@functools.cache  # its construction reads the source of every settings class
def make_parser(task: Task) -> ArgumentParser:
    """Return a parser of all settings of a task, with the attribute docstrings as help."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(prog=f"train_{task}.py", exit_on_error=False)
    parser.add_class_arguments(SETTINGS[task])
    return parser


def parse_all(parser: ArgumentParser, known: Mapping[str, Any], overrides: Sequence[Override]) -> Namespace | None:
    """Return all settings, parsed together since a parse takes 20 ms, or None if one of them is invalid."""
    if not all(each.key in known and (each.value is not None or has_type(known[each.key], None)) for each in overrides):
        return None
    try:
        return parser.parse_object(nested({each.key: each.value for each in overrides}))
    except Exception:  # jsonargparse raises exceptions of several kinds
        return None


def find_mistake(parser: ArgumentParser, known: Mapping[str, Any], given: Override) -> str | None:
    """Return the mistake in one setting, or None."""
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
    """Return a settings file that comes with the package, installed or cloned."""
    installed = Path(__file__).resolve().parents[1] / CONFIGS
    return (installed if installed.is_dir() else installed.parents[1] / CONFIGS) / name


def from_yaml(path: Path) -> list[Override]:
    """Return the settings of a YAML file; raises `RequestError` if it cannot be read.

    A path such as `configs/seg.yaml` that does not exist in the working folder stands for the shipped file.
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
        raise RequestError(f"{path}: invalid YAML: {' '.join(str(error).split())}") from error
    if content is not None and not isinstance(content, dict):
        raise RequestError(f"{path}: expected settings such as `optim: {{lr: 3e-4}}`, received {type(content).__name__}")
    return [Override(key, value, str(path)) for key, value in flattened(content or {})]


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


def from_arguments(arguments: Sequence[str]) -> list[Override]:
    """Return the settings of a command line: `--optim.lr 3e-4` or `--optim.lr=3e-4`."""
    given, rest = [], list(arguments)
    while rest:
        name = rest.pop(0)
        if not name.startswith("--"):
            raise RequestError(f"unexpected argument '{name}': write settings as `--optim.lr 3e-4`")
        name, equals, text = name[2:].partition("=")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise RequestError(f"--{name} has no value: write `--{name} VALUE`")
            text = rest.pop(0)
        given.append(Override(name, text, "command line"))
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


def task_of(path: Path, given: Task | None = None) -> Task:
    """Return the given task, else the one in the file's name (`seg.yaml`, `brisc_resnet18_seg.yaml`), else classification.

    >>> task_of(Path("configs/recipes/brisc_resnet18_seg.yaml")), task_of(Path("kaggle_resnet50_clahe.yaml"))
    ('seg', 'cls')
    """
    words = re.split(r"[_.\-]", path.stem)
    named: list[Task] = [task for task in SETTINGS if task in words]
    return given or (named[0] if named else "cls")


def read_recipe(path: Path, rest: Sequence[str], *, task: Task | None = None) -> tuple[Task, Settings]:
    """Return the task and settings of a file, with command-line overrides; raises `RequestError`."""
    found = task_of(path, task)
    try:
        return found, read_settings(found, [*from_yaml(path), *from_arguments(rest)])
    except RequestError as error:
        raise RequestError(f"{error} (as settings of task {found}; select another with --task)") from error
