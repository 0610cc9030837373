"""A finished run, cross-validation or report: its scores, settings and model card."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bts.errors import RequestError
from bts.evaluation.headline import find
from bts.evaluation.scored import read_scored
from bts.models.folder import ModelCard, read_card
from bts.runs import Run

SAID_BY_LOG = ("device:", "precision:", "network:")
"""Beginnings of the lines of `run.log` that a reader of a score wants to know."""


@dataclass(frozen=True)
class Finished:
    """Something with scores: a finished run, a cross-validation, or a report.

    Attributes:
        folder: where it lies.
        scores: what `scores.json` or `metrics.json` holds, with `Interval` in place of its dictionaries.
        summary: the tables in it.
        card: of a run's model, else None.
        settings: of a run as resolved, else None.
        said: lines of a run's log on machine and network.
    """

    folder: Path
    scores: dict[str, Any]
    summary: dict[str, Any]
    card: ModelCard | None
    settings: dict[str, Any] | None
    said: tuple[str, ...]


def read_finished(path: str | Path) -> Finished:
    """Return what was scored in a folder; `RequestError` where nothing was, or it can't be read."""
    scored, run = read_scored(path), Run(Path(path))
    if not run.settings_file.is_file():
        return Finished(run.path, scored.scores, scored.summary, None, None, ())
    try:
        settings = yaml.safe_load(run.settings_file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RequestError(f"{run.settings_file}: can't be read as settings ({type(error).__name__})") from None
    return Finished(run.path, scored.scores, scored.summary, read_card(run.model), settings, tuple(said_in(run.log)))


def said_in(log: Path) -> Iterator[str]:
    """Yield the log's lines on machine and network, without their time, each once."""
    lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
    texts = (line.split(" ", 2)[-1] for line in lines)
    yield from dict.fromkeys(text for text in texts if text.startswith(SAID_BY_LOG))


def measured_on(done: Finished) -> str:
    """Return on whom something was scored."""
    summary = done.summary
    unit = "patients" if summary["unit"] == "patient" else "slices without patient IDs"
    phantoms = "synthetic phantoms, " if summary["synthetic"] else ""
    split = find(done.settings or {}, "split") or {}
    fold = f", fold {split['fold']}" if split.get("kind") in ("folds", "cvind") else ""
    leaks = ", leaks allowed" if leaks_allowed(done) else ""
    where = f"split `{split['kind']}`{fold}{leaks}" if split else str(done.scores.get("part", ""))
    return f"{phantoms}{summary['n_slices']} slices of {summary['n_patients']} {unit}, {where}"


def leaks_allowed(done: Finished) -> bool:
    """Return whether a run's split was let pass without an audit, as recipes do on a publisher's own split."""
    return bool(find(done.settings or {}, "split.leaks") == "allow")


def model_of(done: Finished) -> str:
    """Return what was trained."""
    return recipe(done.settings) if done.settings else str(find(done.scores, "made.recipe") or done.scores.get("title", ""))


def recipe(settings: dict[str, Any]) -> str:
    """Return network, weights, size and length of a training from its settings."""
    model, size, optim = settings["model"], settings["data"]["size"], settings.get("optim", {})
    weights = {"imagenet": "ImageNet weights", "none": "random weights"}.get(model["weights"])
    return f"{model['encoder']}, {weights or Path(model['weights']).name}, {size} px, at most {optim.get('epochs')} epochs"


POOLED = "every fold once"
"""Name of the tested part of pooled folds."""
