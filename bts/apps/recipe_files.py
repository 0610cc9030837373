"""Task and request of a settings file, for `bts preview` and `bts benchmark`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from bts.apps.settings_line import from_arguments, from_yaml, read_settings
from bts.errors import RequestError
from bts.glossary import Task
from bts.settings import SETTINGS, Settings


def task_of(path: Path, given: Task | None = None) -> Task:
    """Return the given task, else the one in the file's name (`seg.yaml`, `brisc_resnet18_seg.yaml`), else classification.

    >>> task_of(Path("configs/recipes/brisc_resnet18_seg.yaml")), task_of(Path("kaggle_resnet50_clahe.yaml"))
    ('seg', 'cls')
    """
    words = re.split(r"[_.\-]", path.stem)
    named: list[Task] = [task for task in SETTINGS if task in words]
    return given or (named[0] if named else "cls")


def read_recipe(path: Path, rest: Sequence[str], *, task: Task | None = None) -> tuple[Task, Settings]:
    """Return a file's task and settings, with those of the command line laid over them; raises RequestError."""
    found = task_of(path, task)
    try:
        return found, read_settings(found, [*from_yaml(path), *from_arguments(rest)])
    except RequestError as error:
        raise RequestError(f"{error} (as settings of task {found}; --task names another)") from error
