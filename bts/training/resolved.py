"""Settings of a run on disk, and which of them a resumed run may change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import yaml

from bts.atomic import write_text
from bts.errors import RequestError
from bts.runs import Run
from bts.settings import Settings

MAY_CHANGE = (
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.images",
    "optim.epochs",
    "data.root",
    "data.cache",
    "data.cache_gib",
    "data.workers",
    "runs",
)
"""Settings that a resumed run may change: paths, hardware and length."""


def write_settings(run: Run, settings: Settings) -> None:
    """Write the settings as resolved into the run, atomically."""
    text = "# Settings of this run as resolved; train_*.py --config takes the file.\n"
    text += yaml.safe_dump(asdict(settings), sort_keys=False)
    write_text(run.settings_file, text)


def check_same_course(run: Run, settings: Settings) -> list[str]:
    """Return a line for each setting that a resumed run changes; raises RequestError for those that must not change."""
    before, now = flat(_read(run)), flat_settings(settings)
    foreign = [f"its setting {key} is unknown to this task and version" for key in before if key not in now]
    foreign += [f"it has no setting {key}" for key in now if key not in before]
    if foreign:
        raise RequestError(f"{run.path}: {foreign[0]}: resume a run with the program that started it")
    changed = [key for key in now if key in before and before[key] != now[key]]
    refused = [key for key in changed if key not in MAY_CHANGE]
    if refused:
        told = ", ".join(f"{key} {before[key]} became {now[key]}" for key in refused)
        raise RequestError(f"{run.path}: {told}: a resumed run keeps its settings; start a new run for another course")
    return [f"resumed with {key} {now[key]} in place of {before[key]}" for key in changed]


def flat_settings(settings: Settings) -> dict[str, Any]:
    """Return settings by their whole names, as a file of settings would give them back."""
    return flat(yaml.safe_load(yaml.safe_dump(asdict(settings))))


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by their whole names.

    >>> flat({"optim": {"lr": 0.1}, "seed": 0})
    {'optim.lr': 0.1, 'seed': 0}
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return found


def _read(run: Run) -> dict[str, Any]:
    try:
        found = yaml.safe_load(run.settings_file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RequestError(
            f"{run.path}: no run to resume (no {run.settings_file.name} in it): name a folder such as runs/seg/<time>"
        ) from error
    except (OSError, yaml.YAMLError) as error:
        raise RequestError(
            f"{run.settings_file}: can't be read as settings ({type(error).__name__}): start a new run"
        ) from error
    if not isinstance(found, dict):
        raise RequestError(f"{run.settings_file}: no settings in it: start a new run")
    return found
