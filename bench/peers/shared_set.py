"""The set that all peers train on: figshare at 224 x 224 pixels, the author's fold 5 as test, whole families of patients."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bts.atomic import write_text
from bts.data.npz_files import write_npz
from bts.data.patient_ids import patient_of
from bts.data.sources.catalogue import open_source
from bts.data.split import Split, SplitRow
from bts.data.split_making import make_split
from bts.glossary import PARTS
from bts.settings import SplitSettings

SIZE = 224
FOLD = 5
QUICK_PATIENTS, QUICK_SLICES = 2, 3
"""Patients of each class and part in a rehearsal, and slices of each."""


@dataclass(frozen=True, eq=False)
class Truth:
    """The test part as the scorer needs it.

    Attributes:
        rows: the slices, in the order of the split; predictions have the same order.
        masks: (N, S, S) bool.
        classes: class names, in the order of the probabilities.
    """

    rows: list[SplitRow]
    masks: np.ndarray
    classes: tuple[str, ...]

    @property
    def patients(self) -> list[str]:
        """The family of each slice's patient."""
        return [patient_of(row.patient) for row in self.rows]


def write_set(data: Path, folder: Path, *, quick: bool) -> None:
    """Write `slices.npz` (8 bits, full range), `split.csv` and, last, `set.json` into a folder.

    Raises:
        RequestError: no figshare set in `data`, or no folds of the author's in it.
    """
    source = open_source("figshare", data)
    records = source.records()
    split, lines = make_split(records, SplitSettings(kind="cvind", fold=FOLD))
    folder.mkdir(parents=True, exist_ok=True)
    write_npz(source, folder / "slices.npz", size=SIZE)
    number = {record.path: i for i, record in enumerate(records)}
    rows = [SplitRow(f"slices.npz#{number[row.path]}", row.patient, row.label, row.part) for row in split.rows]
    if quick:
        rows = _few(rows)
    Split(tuple(rows)).write(folder / "split.csv")
    found = {"classes": list(source.classes), "size": SIZE, "fold": FOLD, "synthetic": source.synthetic, "lines": lines}
    found |= {part: sum(row.part == part for row in rows) for part in PARTS}
    write_text(folder / "set.json", json.dumps(found, indent=1) + "\n")


def _few(rows: list[SplitRow]) -> list[SplitRow]:
    """Return the first slices of the first patients of every class and part."""
    chosen: dict[tuple[str, str], dict[str, list[SplitRow]]] = {}
    for row in rows:
        patients = chosen.setdefault((row.part, row.label), {})
        if len(patients) < QUICK_PATIENTS or patient_of(row.patient) in patients:
            patients.setdefault(patient_of(row.patient), []).append(row)
    return [row for patients in chosen.values() for few in patients.values() for row in few[:QUICK_SLICES]]


def read_truth(folder: Path) -> Truth:
    """Return the truth of the test part."""
    rows = Split.read(folder / "split.csv").part("test")
    with np.load(folder / "slices.npz", allow_pickle=False) as arrays:
        masks = arrays["masks"][[int(row.path.partition("#")[2]) for row in rows]] > 0
    return Truth(rows, masks, tuple(json.loads((folder / "set.json").read_text(encoding="utf-8"))["classes"]))
