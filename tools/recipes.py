"""Table of the recipes: published figure, our scores on the published split and by patient, and shortening of the training.

The published figure is in the head of a recipe's settings file. Ours are from the folders of `bts benchmark`; the shortening is
the difference between the settings of a run and those of the recipe.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bts.apps.settings_parser import read_recipe
from bts.errors import RequestError
from bts.evaluation.intervals import Interval
from bts.evaluation.metric_registry import METRICS, find
from bts.evaluation.results import Evaluation, read_evaluation
from bts.report.rendering import Raw, table
from bts.runs import Run
from bts.training.run_data import flat, flat_settings
from tools.documents import NOT_MEASURED

FOLDER = Path(__file__).parents[1] / "configs" / "recipes"
FIRST_SCORE = {
    "seg": "segmentation.slice.dice",
    "cls": "classification.slice.overall.accuracy",
    "joint": "segmentation.slice.dice",
}
"""Score that represents a recipe, by task."""
NOT_LENGTH = (
    *("data.source", "data.root", "data.cache", "data.cache_gib", "data.workers", "data.unreadable", "split.", "runs"),
    *("trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.precision", "trainer.images"),
)
"""Settings, or prefixes of some, that set locations and hardware, not the length of a training."""
UNITS = {
    "data.size": "px",
    "optim.epochs": "epochs",
    "freeze.epochs": "epochs of stage 1",
    "data.batch_size": "slices per batch",
}


@dataclass(frozen=True)
class Recipe:
    """One published system: name of its settings file, task, published figure, and shipped settings by dotted name."""

    name: str
    task: str
    published: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Measured:
    """Scores of a recipe.

    Attributes:
        published, by_patient: on the publisher's split (leaks allowed) and on one by patient; None where not run.
        done: the runs.
    """

    published: Interval | None
    by_patient: Interval | None
    done: tuple[Evaluation, ...]


def read_recipes() -> list[Recipe]:
    """Return the recipes of this clone in the order of their names."""
    found = []
    for file in sorted(FOLDER.glob("*.yaml")):
        task, settings = read_recipe(file, [])
        found.append(Recipe(file.stem, task, read_published(file), flat_settings(settings)))
    return found


def read_published(file: Path) -> str:
    """Return the published figure from the line `# Published:` of a recipe."""
    lines = file.read_text(encoding="utf-8").splitlines()
    found = next((line.removeprefix("# Published:").strip() for line in lines if line.startswith("# Published:")), "")
    if not found:
        raise RequestError(f"{file}: no line '# Published: ...' in its head: a recipe states the published figure")
    return found


def read_benchmark(folder: Path) -> dict[str, Measured]:
    """Return the measurements in a folder of `bts benchmark` by recipe; raise `RequestError` without a finished run."""
    finished = sorted([*folder.glob("*/*/*/finished.json"), *folder.glob("*/*/*/*/finished.json")])
    if not finished:
        raise RequestError(f"{folder}: no finished run in it: name a folder of `bts benchmark`")
    found: dict[str, list[Evaluation]] = {}
    for run in (Run(marker.parent) for marker in finished):
        found.setdefault(run.path.parents[1].name, []).append(read_evaluation(run.path))
    return {name: by_split(done) for name, done in found.items()}


def by_split(done: Sequence[Evaluation]) -> Measured:
    """Return the scores of runs: leaks allowed on the published split, refused by patient."""
    scores: dict[bool, Interval] = {}
    for each in done:
        found = find(each.summary, FIRST_SCORE[str(each.card.task) if each.card else "cls"])
        if isinstance(found, Interval):
            scores[each.leaks_allowed] = found
    return Measured(scores.get(True), scores.get(False), tuple(done))


def recipes_table(recipes: Sequence[Recipe], measured: Mapping[str, Measured]) -> str:
    """Return one row per recipe: published figure, our scores on the published split and by patient, and shortening."""
    head = ("recipe", "published", "score", "ours, published split", "ours, by patient", "shortened")
    rows = []
    for recipe in recipes:
        found = measured.get(recipe.name)
        label = METRICS[FIRST_SCORE[recipe.task]].label
        cells = (Raw(recipe.published), label, *_ours(recipe, found), Raw(shortened(recipe, found)))
        rows.append((Raw(f"`{recipe.name}`"), *cells))
    return table(head, rows)


def _ours(recipe: Recipe, found: Measured | None) -> Iterator[Raw]:
    for score, possible in (
        (found.published if found else None, recipe.settings["split.kind"] == "published"),
        (found.by_patient if found else None, True),
    ):
        unit = f"{score.n_patients} patients" if score and score.unit == "patient" else "unknown patients"
        text = f"{score.text()}, {score.n_slices} slices of {unit}" if score else NOT_MEASURED
        yield Raw(text if score or possible else "none is published")


def shortened(recipe: Recipe, found: Measured | None) -> str:
    """Return how the training of a run differs from the recipe's file; `as the recipe` where it does not."""
    if found is None or not found.done:
        return "–"
    texts = [text for done in found.done for text in _differences(recipe.settings, flat(done.settings or {}))]
    return "; ".join(dict.fromkeys(texts)) or "as the recipe"


def _differences(shipped: Mapping[str, Any], used: Mapping[str, Any]) -> Iterator[str]:
    for key, value in used.items():
        if key not in shipped or key.startswith(NOT_LENGTH) or value == shipped[key]:
            continue
        if key == "trainer.limit_batches":
            yield f"at most {value} batches per epoch"
        elif key == "model.weights":
            yield "random weights" if value == "none" else f"weights of {Path(str(value)).name}"
        else:
            name = f" {UNITS[key]}" if key in UNITS else f" ({key})"
            yield f"{value}{name.replace('epochs', 'epoch', 1) if value == 1 else name}, not {shipped[key]}"
