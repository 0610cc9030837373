"""Subject of an evaluation: models, slices, and the exclusion of slices that a model was trained on.

On a run's own split the test part must not contain training patients. Slices of an external set are excluded if
they belong to a training patient, are copies of training slices, or have a class unknown to the models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bts.audit.images import AuditSet, collect
from bts.audit.matches import find_matches, spread
from bts.data.patient_ids import SamePatient
from bts.data.sources.base import Record, Source
from bts.data.sources.catalogue import open_source
from bts.data.split import Split
from bts.errors import RequestError
from bts.glossary import PARTS, Part, Task
from bts.inference.model_selection import ModelPaths, as_paths, model_folder
from bts.inference.predictor import Predictor
from bts.models.folder import ModelCard, read_card
from bts.registry import suggestion
from bts.runs import Run
from bts.training.run_data import RunData, read_run, refuse_training_patients, training_patients


@dataclass(frozen=True)
class Request:
    """Request of a user.

    Attributes:
        models: task -> path of a run or model folder; several paths form an ensemble.
        part: part of the runs' split to score.
        data: name of an external source, or None for the runs' own.
        root: folder of the data; None is the run's, or the source's usual folder.
        mask_labels: values of the masks of a foreign source that are tumour; empty for all but 0.
        device: `auto`, `cpu`, `cuda`.
        seed: seed of the bootstrap, t-SNE and the randomised weights.
        draws: draws of the bootstrap.
    """

    models: Mapping[Task, ModelPaths]
    part: Part = "test"
    data: str | None = None
    root: str | None = None
    mask_labels: tuple[int, ...] = ()
    device: str = "auto"
    seed: int = 0
    draws: int = 2000


@dataclass(frozen=True, eq=False)
class Subject:
    """Models and slices, ready to be scored.

    Attributes:
        predictor: the loaded models.
        source: reads the slices.
        records: slices to score.
        cards: cards of every model that takes part.
        folders: folders of those models.
        runs: their runs, if present, by task, numbered where several models share one.
        part: part of the split, or `all` of an external set.
        split: split of the first run, None for an external set.
        removed: reason -> number of slices left out.
        notes: warnings for the reader, one line each.
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

    @property
    def same_patient(self) -> SamePatient:
        """Which patient IDs count as one patient: as in the split, or the default for an external set."""
        return "suffixes" if self.split is None else self.split.same_patient


def run_of(folder: Path) -> Run | None:
    """Return the run that contains a model folder, or None."""
    run = Run(folder.parent)
    return run if run.settings_file.is_file() or run.split_file.is_file() else None


def choose_subject(request: Request) -> Subject:
    """Load the models and select the slices to score.

    Raises:
        RequestError: no model, a model without a run and no external set, an unknown or empty part, a run without its split
            file, or test patients that one of the models was trained on.
    """
    if not request.models:
        raise RequestError("no model is named: give --seg RUN, --cls RUN or --joint RUN")
    if request.part not in PARTS:
        raise RequestError(f"unknown part '{request.part}'{suggestion(request.part, PARTS)}: choose one of {', '.join(PARTS)}")
    folders = {task: [model_folder(path) for path in as_paths(paths)] for task, paths in request.models.items()}
    cards = [read_card(folder, expect=task) for task, of_task in folders.items() for folder in of_task]
    loaded: dict[Any, Any] = dict(folders)
    predictor = Predictor.load(seg=loaded.get("seg"), cls=loaded.get("cls"), joint=loaded.get("joint"), device=request.device)
    named = {
        f"{task} {i}" if len(of_task) > 1 else task: folder
        for task, of_task in folders.items()
        for i, folder in enumerate(of_task, start=1)
    }
    base: dict[str, Any] = {"predictor": predictor, "cards": cards, "folders": list(named.values())}
    runs = {name: run for name, folder in named.items() if (run := run_of(folder)) is not None}
    without_run = [str(folder) for folder in named.values() if run_of(folder) is None]
    return _foreign(request, runs, without_run, base) if request.data else _own(request, runs, without_run, base)


def _own(request: Request, runs: dict[str, Run], without_run: list[str], base: dict[str, Any]) -> Subject:
    """Select a part of the runs' own split."""
    if request.mask_labels:
        raise RequestError("--mask-labels without --data: the masks of a run's own set are read as its data.mask_labels says")
    if without_run:
        raise RequestError(
            f"{without_run[0]}: the model is not in a run folder, so its test part is unknown: give a run, or --data"
        )
    data = {name: read_run(run, root=request.root) for name, run in runs.items()}
    first = next(iter(data.values()))
    records = first.records(request.part)
    notes = []
    if request.part != "test":
        notes.append(f"part '{request.part}', not the test part: the model was trained on it or selected by it")
    else:
        for card, folder in zip(base["cards"], base["folders"], strict=True):
            refuse_training_patients(training_patients(card, folder), records, first.split.same_patient)
    if len({one.split.fingerprint for one in data.values()}) > 1:
        notes.append(f"the runs have different splits; scored on the {request.part} part of {first.run.path}")
    return Subject(source=first.source, records=records, runs=data, part=request.part, split=first.split, notes=notes, **base)


def _foreign(request: Request, runs: dict[str, Run], without_run: list[str], base: dict[str, Any]) -> Subject:
    """Select a whole external set without slices that the models have seen."""
    assert request.data is not None
    source = open_source(request.data, request.root or f"data/{request.data}", mask_labels=request.mask_labels)
    data, notes = {}, []
    for name, run in runs.items():
        try:
            data[name] = read_run(run)
        except RequestError as error:
            notes.append(f"copies of training slices of the {name} model were not searched for: {error}")
    notes += [f"copies of training slices were not searched for: {model} is not in a run folder" for model in without_run]
    kept, removed, unchecked = remove_known(source, base["cards"], base["folders"], list(data.values()))
    notes += unchecked
    if any(record.patient is None for record in kept):
        notes.append("the set names no patients: the intervals are over slices, and too narrow where patients repeat")
    if not kept:
        raise RequestError(f"{source.root}: no slice is left after {removed}: nothing to evaluate")
    return Subject(source=source, records=kept, runs=data, part="all", split=None, removed=removed, notes=notes, **base)


def remove_known(
    source: Source, cards: Sequence[ModelCard], folders: Sequence[Path], runs: Sequence[RunData]
) -> tuple[list[Record], dict[str, int], list[str]]:
    """Return the records of an external set that no model has seen and all can classify.

    Args:
        source: the external set.
        cards: cards of the models; slices of their training patients are left out.
        folders: folders of the models, with the keys of the hashed patients.
        runs: runs of the models, if present; copies of their training slices are left out.

    Returns:
        The records, the number of others by reason, and a note for each model whose training patients can't be recognised.
    """
    records = source.records()
    removed: dict[str, int] = {}
    notes: list[str] = []

    def drop(reason: str, paths: set[str]) -> None:
        nonlocal records
        if paths:
            removed[reason] = len(paths)
            records = [record for record in records if record.path not in paths]

    classes = next((card.classes for card in cards if card.classes), None)
    if classes is not None:
        for label in sorted({record.label or "(no label)" for record in records} - set(classes)):
            of_class = {record.path for record in records if (record.label or "(no label)") == label}
            drop(f"class '{label}', which the model doesn't know", of_class)
    for card, folder in zip(cards, folders, strict=True):
        patients = training_patients(card, folder)
        if patients.why_not is not None and any(record.patient for record in records):
            notes.append(_unchecked(card, patients.why_not, source.name))
        rules: tuple[SamePatient, ...] = ("suffixes", "exact")  # that of the run is not known
        known = {record.path for record in records for rule in rules if patients.holds(record.patient, rule)}
        drop(f"slices of patients that '{card.name}' was trained on", known)
    for run in runs:
        copies = find_copies(source, records, run) if records else set()
        drop(f"copies of training slices of {run.run.path.name}", copies)
    return records, removed, notes


def _unchecked(card: ModelCard, why: str, source: str) -> str:
    """Return a note that training patients of a model may be among those who are scored."""
    line = f"patients that '{card.name}' was trained on could not be left out: {why}"
    if source in card.trained_on:
        line += f"; it was trained on slices of {source}, so these scores may be of its own training patients"
    return line


def find_copies(source: Source, records: Sequence[Record], run: RunData) -> set[str]:
    """Return the paths of the records that show a training slice of the run, found by the leak audit."""
    external = AuditSet("external", source, chosen=records)
    collection = collect([external, AuditSet("trained", run.source, chosen=run.records("train"))])
    trained = [place for place, picture in enumerate(collection.images) if picture.set_name == "trained"]
    reached = spread(find_matches(collection).found, trained)
    pictures = [collection.images[place] for place in reached]
    return {picture.record.path for picture in pictures if picture.set_name == "external"}
