"""What of a foreign set may be scored? No patient that was trained on, no copy of a training slice, no unknown class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from bts.data.families import Group
from bts.data.sources.base import Record, Source
from bts.evaluation.run_data import RunData, trained_on
from bts.models.folder import ModelCard

SIDE = 48
COPY = 0.97
"""Correlation of two pictures at 48 x 48 from which they are copies. Between figshare and the two four-class sets it is over
0.995 for copies and under 0.93 for everything else, in all eight orientations."""
BLOCK = 512


@dataclass(frozen=True)
class Kept:
    """What may be scored, and how much was left out for which reason."""

    records: list[Record]
    removed: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def remove_known(source: Source, cards: Sequence[ModelCard], runs: Sequence[RunData]) -> Kept:
    """Return the records of a foreign set that none of the models has seen and all can answer.

    Args:
        source: the foreign set.
        cards: of the models; their hashed training patients are left out.
        runs: of the models, as far as they are there; copies of their training slices are left out.
    """
    records, removed, notes = source.records(), {}, []
    classes = next((card.classes for card in cards if card.classes), None)
    if classes is not None:
        for label in sorted({record.label or "(no label)" for record in records} - set(classes)):
            kept = [record for record in records if (record.label or "(no label)") != label]
            removed[f"class '{label}', which the model doesn't know"] = len(records) - len(kept)
            records = kept
    for card in cards:
        groups: tuple[Group, ...] = ("family", "exact")  # a foreign run may have grouped otherwise
        seen = {record.path for group in groups for record in trained_on(card, records, group)}
        if seen:
            removed[f"slices of patients that '{card.name}' was trained on"] = len(seen)
            records = [record for record in records if record.path not in seen]
    for run in runs:
        copies = find_copies(source, records, run)
        if copies:
            removed[f"copies of training slices of {run.run.path.name}"] = len(copies)
            records = [record for record in records if record.path not in copies]
    if any(record.patient is None for record in records):
        notes.append("the set names no patients: the intervals are drawn over slices, and are too narrow where patients repeat")
    return Kept(records, removed, notes)


def find_copies(source: Source, records: Sequence[Record], run: RunData) -> set[str]:
    """Return the paths of the records that show a training slice of the run, in any of eight orientations."""
    if not records:
        return set()
    trained = describe(run.source, run.records("train"))
    found: set[str] = set()
    pictures = describe(source, records)
    for turned in _orientations(pictures):
        for start in range(0, len(records), BLOCK):
            alike = (turned[start : start + BLOCK] @ trained.T).max(axis=1) >= COPY
            found |= {records[start + int(row)].path for row in np.flatnonzero(alike)}
    return found


def describe(source: Source, records: Iterable[Record]) -> np.ndarray:
    """Return (N, 48 * 48) float32: each picture reduced, its mean removed, of length 1, so that a product is a correlation."""
    rows = []
    for record in records:
        small = Image.fromarray(source.read(record).image).resize((SIDE, SIDE), Image.Resampling.BOX)
        values = np.asarray(small, dtype=np.float32).ravel()
        values = values - values.mean()
        rows.append(values / max(float(np.linalg.norm(values)), 1e-9))
    return np.stack(rows)


def _orientations(pictures: np.ndarray) -> Iterable[np.ndarray]:
    """Yield the pictures (N, 48 * 48) in the eight orientations of a square."""
    square = pictures.reshape(-1, SIDE, SIDE)
    for side in (square, square.transpose(0, 2, 1)):
        for rows in (1, -1):
            for columns in (1, -1):
                yield np.ascontiguousarray(side[:, ::rows, ::columns]).reshape(len(pictures), -1)
