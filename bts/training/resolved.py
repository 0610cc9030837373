"""Which settings did a run have, and may a resumed run have others?"""

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
    "trainer.nodes",
    "trainer.compile",
    "trainer.images",
    "optim.epochs",
    "data.root",
    "data.cache",
    "data.cache_gib",
    "data.workers",
    "runs",
)
"""Settings that a resumed run may take anew: where things lie, what computes, and how long it goes on."""

LATER = (
    "model.in_channels",
    "model.normalisation",
    "model.hidden",
    "model.head_norm",
    "model.rim_px",
    "model.slice_dropout",
    "loss.focal_gamma",
)
"""Settings of network and loss that runs of earlier versions lack: they were trained as the defaults say, or as `THEN`."""

THEN = {"model.rim_px": 8, "model.slice_dropout": 0.0}
"""What those of them meant whose default is another now."""


def write_settings(run: Run, settings: Settings) -> None:
    """Write the settings as resolved into the run, atomically."""
    text = "# Settings of this run as resolved; train_*.py --config takes the file.\n"
    text += yaml.safe_dump(asdict(settings), sort_keys=False)
    write_text(run.settings_file, text)


def check_same_course(run: Run, settings: Settings) -> list[str]:
    """Return lines on what a resumed run changes; raises RequestError where a change would make it another run."""
    before, now = with_later(_read(run), settings), flat_settings(settings)
    foreign = [f"its setting {key} is none of this task and version" for key in before if key not in now]
    # the joint network has every setting of the two others, so what a run lacks tells tasks apart too
    foreign += [f"it has no setting {key}" for key in now if key not in before and key.startswith(("model.", "loss."))]
    if foreign:
        told = foreign[0]
        raise RequestError(f"{run.path}: {told}: resume a run with the program that started it")
    changed = [key for key in now if key in before and before[key] != now[key]]
    refused = [key for key in changed if key not in MAY_CHANGE]
    if refused:
        told = ", ".join(f"{key} {before[key]} became {now[key]}" for key in refused)
        raise RequestError(f"{run.path}: {told}: a resumed run keeps its settings; start a new run for another course")
    return [f"resumed with {key} {now[key]} in place of {before[key]}" for key in changed]


def flat_settings(settings: Settings) -> dict[str, Any]:
    """Return settings by their whole names, as a file of settings would give them back."""
    return flat(yaml.safe_load(yaml.safe_dump(asdict(settings))))


def with_later(before: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Return a run's settings by their whole names, with the defaults of what its version did not know yet."""
    defaults = flat_settings(type(settings)())
    defaults |= {key: value for key, value in THEN.items() if key in defaults}
    tells_tasks_apart = ("model.", "loss.")
    return {key: defaults[key] for key in defaults if key in LATER or not key.startswith(tells_tasks_apart)} | flat(before)


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
