"""Slices of a foreign set that may be scored: no training patient, no copy of a training slice, no unknown class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bts.audit.groups import spread
from bts.audit.matches import find_matches
from bts.audit.pictures import AuditSet, collect
from bts.data.patient_ids import Group
from bts.data.sources.base import Record, Source
from bts.models.folder import ModelCard
from bts.training.run_data import RunData, training_patients


@dataclass(frozen=True)
class Kept:
    """What may be scored, and how much was left out for which reason."""

    records: list[Record]
    removed: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def remove_known(source: Source, cards: Sequence[ModelCard], folders: Sequence[Path], runs: Sequence[RunData]) -> Kept:
    """Return the records of a foreign set that none of the models has seen and all can answer.

    Args:
        source: the foreign set.
        cards: of the models; their training patients are left out.
        folders: of those models; the keys under which the patients are hashed lie beside them.
        runs: of the models, as far as they are there; copies of their training slices are left out.
    """
    records, removed, notes = source.records(), {}, []
    classes = next((card.classes for card in cards if card.classes), None)
    if classes is not None:
        for label in sorted({record.label or "(no label)" for record in records} - set(classes)):
            kept = [record for record in records if (record.label or "(no label)") != label]
            removed[f"class '{label}', which the model doesn't know"] = len(records) - len(kept)
            records = kept
    for card, folder in zip(cards, folders, strict=True):
        patients = training_patients(card, folder)
        if patients.why_not is not None and any(record.patient for record in records):
            notes.append(_unchecked(card, patients.why_not, source.name))
        groups: tuple[Group, ...] = ("family", "exact")  # a foreign run may have grouped otherwise
        seen = {record.path for record in records for group in groups if patients.holds(record.patient, group)}
        if seen:
            removed[f"slices of patients that '{card.name}' was trained on"] = len(seen)
            records = [record for record in records if record.path not in seen]
    for run in runs:
        copies = find_copies(source, records, run) if records else set()
        if copies:
            removed[f"copies of training slices of {run.run.path.name}"] = len(copies)
            records = [record for record in records if record.path not in copies]
    if any(record.patient is None for record in records):
        notes.append("the set names no patients: the intervals are drawn over slices, and are too narrow where patients repeat")
    return Kept(records, removed, notes)


def _unchecked(card: ModelCard, why: str, source: str) -> str:
    """Return a line that tells that a model's training patients may be among those who are scored."""
    line = f"patients that '{card.name}' was trained on could not be left out: {why}"
    if source in card.trained_on:
        line += f"; it was trained on slices of {source}, so these scores may be of its own training patients"
    return line


def find_copies(source: Source, records: Sequence[Record], run: RunData) -> set[str]:
    """Return the paths of the records that show a training slice of the run, by the leak audit: turned and cropped ones too."""
    foreign = AuditSet("foreign", source, chosen=records)
    collection = collect([foreign, AuditSet("trained", run.source, chosen=run.records("train"))])
    trained = [place for place, picture in enumerate(collection.pictures) if picture.set_name == "trained"]
    reached = spread(find_matches(collection).found, trained)
    pictures = [collection.pictures[place] for place in reached]
    return {picture.record.path for picture in pictures if picture.set_name == "foreign"}
