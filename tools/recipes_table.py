"""What did each published system report, and what do we measure with its recipe? One row a recipe, from files alone.

The published figure and the known reason for a gap stand in the head of the recipe's settings file, and nowhere else. Ours
come from the folders of `bts benchmark`; how a training was shortened is the difference between its settings and the recipe's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from bts.csv_files import read_frame
from bts.errors import RequestError
from bts.evaluation.finished import Finished, leaks_allowed, read_finished
from bts.evaluation.headline import find
from bts.evaluation.intervals import Interval
from bts.runs import Run
from bts.training.run_data import flat
from tools.results_kept import NOT_YET

RECIPES, OURS, LEAKS = "recipes", "ours", "leaks"
"""Names of the pairs of markers between which the table goes: of all recipes, and of those of one page."""
FIRST_SCORE = {
    "seg": ("segmentation.slice.dice", "Dice, mean over slices"),
    "cls": ("classification.slice.overall.accuracy", "accuracy per slice"),
    "joint": ("segmentation.slice.dice", "Dice, mean over slices"),
}
"""The score that stands for a recipe, by task: its place in `scores.json`, and its name in a table of both columns."""
BOTH_COLUMNS = {"recipe", "score", "published", "by_patient", "gap"}
NO_SHORTENING = (
    "data.source",
    "data.root",
    "data.cache",
    "data.cache_gib",
    "data.workers",
    "data.unreadable",
    "split.",
    "runs",
)
NO_SHORTENING_EITHER = ("trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.precision", "trainer.images")
"""Settings, or beginnings of some, that say where things lie and what computes, not how long is trained."""
UNITS = {"data.size": "px", "optim.epochs": "epochs", "freeze.epochs": "epochs of stage 1", "data.batch_size": "slices a batch"}


@dataclass(frozen=True)
class Recipe:
    """One published system.

    Attributes:
        name: of its settings file.
        task: `seg`, `cls` or `joint`.
        published: its figures as published.
        gap: known reasons for a gap.
        settings: as shipped, by dotted name.
    """

    name: str
    task: str
    published: str
    gap: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Measured:
    """What a recipe scored.

    Attributes:
        published, by_patient: on the publisher's split (leaks allowed), and on one that parts no patient; None where not run.
        gap: between the two, where both were run in one benchmark.
        done: the runs behind them.
    """

    published: Interval | None
    by_patient: Interval | None
    gap: Interval | None
    done: tuple[Finished, ...]


def read_head(file: Path) -> tuple[str, str]:
    """Return the published figure and the reasons for a gap from the lines `# Published:` and `# Gap:` of a recipe."""
    found = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        key, colon, text = line.removeprefix("# ").partition(": ")
        if line.startswith("# ") and colon and key in ("Published", "Gap"):
            found[key] = text.strip()
    missing = [key for key in ("Published", "Gap") if not found.get(key)]
    if missing:
        raise RequestError(
            f"{file}: no line '# {missing[0]}: ...' in its head: a recipe says what was published and what differs"
        )
    return found["Published"], found["Gap"]


def read_benchmark(folder: Path) -> dict[str, Measured]:
    """Return what a folder of `bts benchmark` holds, by recipe; with or without `--by-patient`.

    Raises RequestError where no finished run is in it.
    """
    runs = [
        Run(marker.parent) for marker in sorted([*folder.glob("*/*/*/finished.json"), *folder.glob("*/*/*/*/finished.json")])
    ]
    if not runs:
        raise RequestError(f"{folder}: no finished run in it: name a folder of `bts benchmark`")
    both = _both_columns(folder / "benchmark.csv")
    found: dict[str, list[Finished]] = {}
    for run in runs:
        found.setdefault(run.path.parents[1].name, []).append(read_finished(run.path))
    return {name: replace(both[name], done=tuple(done)) if name in both else _alone(done) for name, done in found.items()}


def _both_columns(file: Path) -> dict[str, Measured]:
    """Return the first score of each recipe on both sides, over recovered patients; empty where the file is of one column."""
    table = read_frame(file) if file.is_file() else pd.DataFrame()
    if not set(table.columns) >= BOTH_COLUMNS:
        return {}
    first = table.drop_duplicates("recipe")
    return {
        str(row["recipe"]): Measured(_side(row, "published"), _side(row, "by_patient"), _side(row, "gap"), ())
        for row in first.to_dict("records")
    }


def _side(row: Mapping[Any, Any], name: str) -> Interval:
    """Return one column of a row of the CSV; the gap has no counts of its own."""
    low, high = (None if pd.isna(row[f"{name}_{end}"]) else float(row[f"{name}_{end}"]) for end in ("low", "high"))
    patients, slices = (int(row.get(f"{name}_{what}", 0)) for what in ("patients", "slices"))
    return Interval(float(row[name]), low, high, patients, slices, seed=int(row["seed"]), draws=int(row["draws"]))


def _alone(done: Sequence[Finished]) -> Measured:
    """Return the scores of runs without a table of both columns: leaks allowed in one column, refused in the other."""
    scores: dict[bool, Interval] = {}
    for each in done:
        found = find(each.summary, FIRST_SCORE[str(each.card.task) if each.card else "cls"][0])
        if isinstance(found, Interval):
            scores[leaks_allowed(each)] = found
    return Measured(scores.get(True), scores.get(False), None, tuple(done))


def recipes_table(recipes: Sequence[Recipe], measured: Mapping[str, Measured]) -> str:
    """Return a row a recipe: published, ours on both splits, the gap, how it was shortened, and why it may differ."""
    titles = (
        "recipe",
        "published",
        "score",
        "ours, published split",
        "ours, by patient",
        "what the leak is worth",
        "shortened",
    )
    lines = [f"| {' | '.join(titles)} | why it differs |", "|---" * (len(titles) + 1) + "|"]
    for recipe in recipes:
        found = measured.get(recipe.name)
        cells = [recipe.published, FIRST_SCORE[recipe.task][1], *_ours(recipe, found), shortened(recipe, found), recipe.gap]
        lines.append(f"| `{recipe.name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _ours(recipe: Recipe, found: Measured | None) -> Iterator[str]:
    for score, possible in (
        (found.published if found else None, recipe.settings["split.kind"] == "published"),
        (found.by_patient if found else None, True),
    ):
        text = f"{score.text()}, {score.n_slices} slices of {_units(score)}" if score else NOT_YET
        yield text if score or possible else "none is published"
    yield found.gap.text() if found and found.gap else "–"


def _units(score: Interval) -> str:
    return f"{score.n_patients} patients" if score.unit == "patient" else "unknown patients"


def shortened(recipe: Recipe, found: Measured | None) -> str:
    """Return how the training of a run differs from the recipe's file, in words; `as the recipe` where it doesn't."""
    if found is None or not found.done:
        return "–"
    told = list(dict.fromkeys(text for done in found.done for text in _differences(recipe.settings, flat(done.settings or {}))))
    return "; ".join(told) or "as the recipe"


def _differences(shipped: Mapping[str, Any], used: Mapping[str, Any]) -> Iterator[str]:
    for key, value in used.items():
        if key in shipped and not key.startswith((*NO_SHORTENING, *NO_SHORTENING_EITHER)) and value != shipped[key]:
            yield _difference(key, value, shipped[key])


def _difference(key: str, value: Any, shipped: Any) -> str:
    if key == "trainer.limit_batches":
        return f"at most {value} batches an epoch"
    if key == "model.weights":
        return "random weights" if value == "none" else f"weights of {Path(str(value)).name}"
    name = f" {UNITS[key]}" if key in UNITS else f" ({key})"
    if value == 1:
        name = name.replace("epochs", "epoch", 1)
    return f"{value}{name}, not {shipped}"


def leak_rows(recipes: Sequence[Recipe], measured: Mapping[str, Measured]) -> str:
    """Return a small table for the first screen: what recipes score on the published split and on new patients, and the gap."""
    rows = []
    for each in recipes:
        found = measured.get(each.name)
        if found and found.published and found.by_patient and found.gap:
            cells = (score.text() for score in (found.published, found.by_patient, found.gap))
            rows.append(f"| `{each.name}`, {FIRST_SCORE[each.task][1]} | {' | '.join(cells)} |")
    head = ["| what a leaking split is worth | published split | patients never seen | gap |", "|---|---|---|---|"]
    return "\n".join([*head, *rows]) if rows else ""
