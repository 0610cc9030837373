"""What is to be evaluated: which models, on which slices, and what must not be among them?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bts.data.sources.base import Record, Source
from bts.data.sources.catalogue import open_source
from bts.data.split import Split
from bts.errors import RequestError
from bts.evaluation.foreign import remove_known
from bts.glossary import PARTS, Part, Task
from bts.inference.model_selection import Named, all_named, model_folder
from bts.inference.predictor import Predictor
from bts.models.folder import ModelCard, read_card
from bts.registry import suggestion
from bts.runs import Run
from bts.training.run_data import RunData, read_run, refuse_training_patients, training_patients


@dataclass(frozen=True)
class Request:
    """What a user asks for.

    Attributes:
        models: task -> path of a run folder or a model folder; of several paths the mean answers.
        part: part of the runs' split to score.
        data: name of a foreign source, or None for the runs' own.
        root: folder of the data; None takes the run's, or the source's usual place.
        device: `auto`, `cpu`, `cuda`.
        seed: of the bootstrap, t-SNE and the randomised weights.
        draws: of the bootstrap.
    """

    models: Mapping[Task, Named]
    part: Part = "test"
    data: str | None = None
    root: str | None = None
    device: str = "auto"
    seed: int = 0
    draws: int = 2000


@dataclass(frozen=True, eq=False)
class Subject:
    """Models and slices, ready to be scored.

    Attributes:
        predictor: who answers.
        source: reads the slices.
        records: what is scored.
        cards: of every model that takes part.
        folders: of those models.
        runs: their runs as far as they are there, by task, with a number behind it where several models share one.
        part: which part of the split, or `all` of a foreign set.
        split: of the first run, None with a foreign set.
        removed: why slices were left out -> how many.
        notes: one line each that a reader must not miss.
    """

    predictor: Predictor
    source: Source
    records: list[Record]
    cards: list[ModelCard]
    folders: list[Path]
    runs: dict[str, RunData]
    part: str
    split: Split | None
    removed: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def run_of(folder: Path) -> Run | None:
    """Return the run that a model folder lies in, or None where it stands alone."""
    run = Run(folder.parent)
    return run if run.settings_file.is_file() or run.split_file.is_file() else None


def choose_subject(request: Request) -> Subject:
    """Return what is to be scored.

    Raises RequestError where no model is named, a model has no run and no other set is named, an unknown part, an empty one,
    a run without its split file, or test patients that one of the models was trained on.
    """
    if not request.models:
        raise RequestError("no model is named: give --seg RUN, --cls RUN or --joint RUN")
    if request.part not in PARTS:
        raise RequestError(f"unknown part '{request.part}'{suggestion(request.part, PARTS)}: choose one of {', '.join(PARTS)}")
    named = {task: all_named(paths) for task, paths in request.models.items()}
    folders = {task: [model_folder(path) for path in paths] for task, paths in named.items()}
    cards = [read_card(folder, expect=task) for task, of_task in folders.items() for folder in of_task]
    loaded: dict[Any, Any] = dict(folders)
    predictor = Predictor.load(seg=loaded.get("seg"), cls=loaded.get("cls"), joint=loaded.get("joint"), device=request.device)
    every = [folder for of_task in folders.values() for folder in of_task]
    base: dict[str, Any] = {"predictor": predictor, "cards": cards, "folders": every}
    runs = {name: run for name, folder in _by_name(folders).items() if (run := run_of(folder)) is not None}
    alone = [str(folder) for folder in every if run_of(folder) is None]
    return _foreign(request, runs, alone, base) if request.data else _own(request, runs, alone, base)


def _by_name(folders: Mapping[Task, list[Path]]) -> dict[str, Path]:
    return {
        f"{task} {i}" if len(of_task) > 1 else task: folder
        for task, of_task in folders.items()
        for i, folder in enumerate(of_task, start=1)
    }


def _own(request: Request, runs: dict[str, Run], alone: list[str], base: dict[str, Any]) -> Subject:
    """Take a part of the runs' own split."""
    if alone:
        raise RequestError(f"{alone[0]}: the model lies in no run, so its test part is unknown: name a run, or give --data")
    data = {name: read_run(run, root=request.root) for name, run in runs.items()}
    first = next(iter(data.values()))
    records = first.records(request.part)
    notes = []
    if request.part != "test":
        notes.append(f"part '{request.part}', not the test part: the model was trained on it or chosen by it")
    else:
        for card, folder in zip(base["cards"], base["folders"], strict=True):
            refuse_training_patients(training_patients(card, folder), records, first.split.group)
    if len({one.split.fingerprint for one in data.values()}) > 1:
        notes.append(f"the runs have different splits; scored on the {request.part} part of {first.run.path}")
    return Subject(source=first.source, records=records, runs=data, part=request.part, split=first.split, notes=notes, **base)


def _foreign(request: Request, runs: dict[str, Run], alone: list[str], base: dict[str, Any]) -> Subject:
    """Take a whole foreign set, without what the models have seen."""
    assert request.data is not None
    source = open_source(request.data, request.root or f"data/{request.data}")
    data = {}
    notes = []
    for name, run in runs.items():
        try:
            data[name] = read_run(run)
        except RequestError as error:
            notes.append(f"copies of training slices of the {name} model could not be looked for: {error}")
    notes += [f"copies of training slices could not be looked for: {model} lies in no run" for model in alone]
    kept = remove_known(source, base["cards"], base["folders"], list(data.values()))
    notes += kept.notes
    if not kept.records:
        raise RequestError(f"{source.root}: no slice is left after {kept.removed}: nothing to evaluate")
    return Subject(
        source=source, records=kept.records, runs=data, part="all", split=None, removed=kept.removed, notes=notes, **base
    )
