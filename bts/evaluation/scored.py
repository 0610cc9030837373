"""What was scored before, and where does it lie? Reads the tables of a run, a report or a cross-validation."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from bts.csv_files import read_frame
from bts.errors import RequestError
from bts.evaluation.intervals import Interval

PLACES = (
    ("scores/scores.json", "scores/test_slices.csv"),
    ("report/metrics.json", "report/slices.csv"),
    ("metrics.json", "slices.csv"),
)
"""Where numbers and cases lie in a run, in a cross-validation, and in a report."""
TEXTS = {"plane": str, "path": str, "patient": str, "family": str, "label": str, "predicted": str}
INTERVAL = {item.name for item in fields(Interval)}


@dataclass(frozen=True, eq=False)
class Scored:
    """One evaluation as it lies on disk.

    Attributes:
        folder: as named by the user.
        scores: what `scores.json` or `metrics.json` holds, with `Interval` in place of its dictionaries.
        summary: the tables in it.
        cases: one row a slice.
    """

    folder: Path
    scores: dict[str, Any]
    summary: dict[str, Any]
    cases: pd.DataFrame


def read_scored(folder: str | Path) -> Scored:
    """Return the evaluation in a folder; raises RequestError where there is none, or its files are damaged."""
    folder = Path(folder)
    for numbers, cases in PLACES:
        if (folder / numbers).is_file() and (folder / cases).is_file():
            scores = _read_json(folder / numbers)
            return Scored(folder, scores, scores.get("summary", scores), _read_cases(folder / cases))
    raise RequestError(
        f"{folder}: no scores in it (scores/scores.json or metrics.json): name a finished run, or run `bts evaluate`"
    )


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
    if not {"path", "family", "label"} <= set(cases.columns):
        raise RequestError(f"{path}: a table of slices needs path, family and label: score the run again")
    return cases


def with_intervals(value: Any) -> Any:
    """Return JSON values with an `Interval` in place of every dictionary that is one."""
    if isinstance(value, dict):
        if set(value) == INTERVAL:
            return Interval(**value)
        return {key: with_intervals(item) for key, item in value.items()}
    return [with_intervals(item) for item in value] if isinstance(value, list) else value
