"""Scores of a finished run, a cross-validation or a report, read from its folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from bts.csv_files import read_frame
from bts.errors import RequestError
from bts.evaluation.intervals import Interval
from bts.evaluation.metric_registry import describe_sample, find
from bts.models.folder import ModelCard, read_card
from bts.runs import Run

PLACES = (
    ("scores/scores.json", "scores/test_slices.csv"),
    ("report/metrics.json", "report/slices.csv"),
    ("metrics.json", "slices.csv"),
)
"""Scores and cases in a run, in a cross-validation, and in a report."""
TEXTS = {"plane": str, "path": str, "patient_id": str, "patient": str, "label": str, "predicted": str}
INTERVAL = {item.name for item in fields(Interval)}
LOGGED = ("device:", "precision:", "network:")
"""Prefixes of the lines of `run.log` that describe machine and network."""
POOLED = "every fold once"
"""Name of the tested part of pooled folds."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One evaluation on disk.

    Attributes:
        folder: folder of the run, cross-validation or report.
        scores: content of `scores.json` or `metrics.json`, with `Interval` objects.
        summary: the tables in it.
        cases: one row per slice.
        card: model card of a run.
        settings: resolved settings of a run.
        log: lines of a run's log on machine and network.
    """

    folder: Path
    scores: dict[str, Any]
    summary: dict[str, Any]
    cases: pd.DataFrame
    card: ModelCard | None = None
    settings: dict[str, Any] | None = None
    log: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Name of the model or title of the report."""
        return self.card.name if self.card else str(self.scores.get("title", self.folder.name))

    @property
    def leaks_allowed(self) -> bool:
        """Whether the split of the run was not audited, as with a publisher's own split."""
        return bool(find(self.settings or {}, "split.leaks") == "allow")

    @property
    def recipe(self) -> str:
        """Network, weights, size and length of the training."""
        if self.settings:
            return recipe(self.settings)
        return str(find(self.scores, "made.recipe") or self.scores.get("title", ""))

    @property
    def sample(self) -> str:
        """Number of slices and patients, and the split."""
        summary = self.summary
        phantoms = "synthetic phantoms, " if summary["synthetic"] else ""
        split = find(self.settings or {}, "split") or {}
        fold = f", fold {split['fold']}" if split.get("kind") in ("folds", "cvind") else ""
        leaks = ", leaks allowed" if self.leaks_allowed else ""
        where = f"split `{split['kind']}`{fold}{leaks}" if split else str(self.scores.get("part", ""))
        return f"{phantoms}{describe_sample(summary['n_slices'], summary['n_patients'], summary['unit'])}, {where}"


def read_evaluation(folder: str | Path) -> Evaluation:
    """Read the evaluation in a folder; raise `RequestError` where there is none, or its files are damaged."""
    run = Run(Path(folder))
    place = next((each for each in PLACES if all((run.path / name).is_file() for name in each)), None)
    if place is None:
        raise RequestError(
            f"{folder}: no scores in it (scores/scores.json or metrics.json): name a finished run, or run `bts evaluate`"
        )
    scores = _read_json(run.path / place[0])
    found = (run.path, scores, scores.get("summary", scores), _read_cases(run.path / place[1]))
    if not run.settings_file.is_file():
        return Evaluation(*found)
    try:
        settings = yaml.safe_load(run.settings_file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RequestError(f"{run.settings_file}: can't be read as settings ({type(error).__name__})") from None
    return Evaluation(*found, card=read_card(run.model), settings=settings, log=tuple(_log_lines(run.log)))


def recipe(settings: dict[str, Any]) -> str:
    """Return network, weights, size and length of a training from its settings."""
    model, size, optim = settings["model"], settings["data"]["size"], settings.get("optim", {})
    weights = {"imagenet": "ImageNet weights", "none": "random weights"}.get(model["weights"])
    return f"{model['encoder']}, {weights or Path(model['weights']).name}, {size} px, at most {optim.get('epochs')} epochs"


def _log_lines(log: Path) -> Iterator[str]:
    """Yield the lines of the log on machine and network, without their time, each once."""
    lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
    texts = (line.split(" ", 2)[-1] for line in lines)
    yield from dict.fromkeys(text for text in texts if text.startswith(LOGGED))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = with_intervals(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise RequestError(f"{path}: can't be read as scores ({type(error).__name__}): score the run again") from error
    if not isinstance(found, dict) or "n_slices" not in found.get("summary", found):
        raise RequestError(f"{path}: holds no scores: score the run again")
    return found


def _read_cases(path: Path) -> pd.DataFrame:
    try:
        cases = read_frame(path, dtype=TEXTS)
    except (OSError, ValueError) as error:
        raise RequestError(
            f"{path}: can't be read as a table of slices ({type(error).__name__}): score the run again"
        ) from error
    if not {"path", "patient_id", "patient", "label"} <= set(cases.columns):
        raise RequestError(f"{path}: a table of slices needs path, patient_id, patient and label: score the run again")
    return cases


def with_intervals(value: Any) -> Any:
    """Replace every dictionary in JSON values that has the fields of an `Interval` by one."""
    if isinstance(value, dict):
        if set(value) == INTERVAL:
            return Interval(**value)
        return {key: with_intervals(item) for key, item in value.items()}
    return [with_intervals(item) for item in value] if isinstance(value, list) else value
