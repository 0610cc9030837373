"""How do the scores of finished runs get into the documents? As tables between two markers, with what they were measured on.

Nobody types a number: a table is made of `scores/scores.json`, `settings.yaml`, `run.log` and the model's card alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from bts.errors import RequestError
from bts.evaluation.headline import Row, find, headline, per_class_lines
from bts.evaluation.intervals import Interval
from bts.models.folder import ModelCard, read_card
from bts.runs import Run

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
MOST_ROWS = 5
SHORT = {
    "seg": ("segmentation.slice.dice", "segmentation.patient.dice"),
    "cls": (
        "classification.slice.overall.accuracy",
        "classification.slice.overall.balanced_accuracy",
        "classification.patient.overall.accuracy",
    ),
}
"""Scores for the first screen of the README, by task."""
SAID_BY_LOG = ("device:", "precision:", "network:")
"""Beginnings of the lines of `run.log` that a reader of a score wants to know."""


@dataclass(frozen=True)
class Finished:
    """A finished run with its scores.

    Attributes:
        run: its folder.
        card: of its model.
        summary: what `scores.json` holds, with `Interval` in place of its dictionaries.
        settings: as resolved.
        said: lines of the run's log on machine and network.
    """

    run: Run
    card: ModelCard
    summary: dict[str, Any]
    settings: dict[str, Any]
    said: tuple[str, ...]


def read_finished(path: str | Path) -> Finished:
    """Return a finished run with its scores; `RequestError` where it is none."""
    run = Run(Path(path))
    file = run.scores / "scores.json"
    try:
        scores = json.loads(file.read_text(encoding="utf-8"))
        settings = yaml.safe_load(run.settings_file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RequestError(
            f"{run.path}: no finished run (no {Path(str(error.filename)).name}): name one such as runs/seg/<time>"
        ) from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RequestError(
            f"{run.path}: its scores or settings can't be read ({type(error).__name__}): score it again"
        ) from None
    return Finished(run, read_card(run.model), with_intervals(scores), settings, tuple(said_in(run.log)))


def with_intervals(value: Any) -> Any:
    """Return JSON's dictionaries with an `Interval` wherever one was written."""
    names = {field.name for field in fields(Interval)}
    if isinstance(value, dict):
        return Interval(**value) if set(value) == names else {key: with_intervals(item) for key, item in value.items()}
    return value


def said_in(log: Path) -> Iterator[str]:
    """Yield the log's lines on machine and network, without their time, each once."""
    lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
    texts = (line.split(" ", 2)[-1] for line in lines)
    yield from dict.fromkeys(text for text in texts if text.startswith(SAID_BY_LOG))


def measured_on(done: Finished) -> str:
    """Return on whom a run was scored."""
    summary, split = done.summary, done.settings["split"]
    fold = f", fold {split['fold']}" if split["kind"] in ("folds", "cvind") else ""
    unit = "patients" if summary["unit"] == "patient" else "slices without patient IDs"
    phantoms = "synthetic phantoms, " if summary["synthetic"] else ""
    return f"{phantoms}{summary['n_slices']} slices of {summary['n_patients']} {unit}, split `{split['kind']}`{fold}"


def model_of(done: Finished) -> str:
    """Return what a run trained."""
    model, size = done.settings["model"], done.settings["data"]["size"]
    weights = {"imagenet": "ImageNet weights", "none": "random weights"}.get(model["weights"], "weights from a file")
    return f"{model['encoder']}, {weights}, {size} px"


def short_table(runs: Sequence[Finished]) -> str:
    """Return a table of at most five rows: the first segmenter and the first classifier among the runs."""
    first = {done.card.task: done for done in reversed(runs)}
    rows = [
        f"| {row.name} | {row.score.text()} | {model_of(done)} | {measured_on(done)} |"
        for task, done in sorted(first.items(), reverse=True)
        for row in chosen(done, SHORT.get(task, ()))
        if row.score is not None
    ]
    head = ["| on patients never seen | score, 95% interval | model | test |", "|---|---|---|---|"]
    return "\n".join([*head, *rows[:MOST_ROWS]])


def chosen(done: Finished, keys: Sequence[str]) -> list[Row]:
    """Return the rows of the headline with these keys."""
    return [row for row in headline(done.summary) if row.key in keys]


def long_table(runs: Sequence[Finished]) -> str:
    """Return a section for each run: all headline scores, scores by class, and what they were measured on."""
    return "\n\n".join("\n".join(section(done)) for done in runs)


def section(done: Finished) -> Iterator[str]:
    """Yield the lines of one run's section."""
    yield f"### {done.card.name}: {model_of(done)}\n"
    yield "| score on the test part | value, 95% interval |\n|---|---|"
    yield from (f"| {row.name} | {row.score.text()} |" for row in headline(done.summary) if row.score is not None)
    yield from (f"| {label} | {', '.join(cells)} |" for label, cells in per_class_lines(done.summary))
    yield ""
    yield from (f"- {line}" for line in facts(done))


def facts(done: Finished) -> Iterator[str]:
    """Yield what a reader needs to weigh or to repeat the numbers."""
    split = f"split fingerprint {done.summary['split_fingerprint']}, seed {done.settings['split']['seed']}"
    yield f"tested on {measured_on(done)}; {split}"
    yield f"trained on {done.card.trained_on}; model fingerprint {done.card.fingerprint}, seed {done.settings['seed']}"
    point = done.card.operating_point
    flip = "averaged with the mirror image" if point["flip"] else "no mirror image"
    masks = f"mask threshold {point['threshold']:g}, regions under {point['min_area']:.2%} of the picture dropped, "
    yield f"operating point, chosen on validation: {masks if done.card.task != 'cls' else ''}{flip}"
    yield f"intervals over {done.summary['draws']} draws of patients, seed {done.summary['seed']}"
    known = find(done.summary, "provenance") or {}
    yield from (f"{name}: {value}" for name, value in known.items() if isinstance(value, str))
    yield from done.said
    yield from done.summary.get("notes", [])


def fill(path: Path, block: str) -> None:
    """Put a block between the markers of a document; `RequestError` where they are not there."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RequestError(f"{path}: can't be read ({error.strerror}): name the document to write into") from None
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise RequestError(f"{path}: expected the lines `{BEGIN}` and `{END}`, between which the table goes")
    path.write_text(f"{before}{BEGIN}\n{block}\n{END}{after}", encoding="utf-8")
