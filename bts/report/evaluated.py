"""What does one evaluation know, before it becomes a page and files?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from bts.data.split import Split
from bts.evaluation.randomisation import Randomised
from bts.models.folder import ModelCard
from bts.report.gallery import Tile
from bts.report.report_figures import Panel


@dataclass(frozen=True)
class LookedAt:
    """A patient whose class was wrong, with some of its slices."""

    family: str
    label: str
    predicted: str
    confidence: float
    n_slices: int
    n_right: int
    tiles: list[Tile]


@dataclass(eq=False)
class Evaluated:
    """Everything that a report shows.

    Attributes:
        title: one line that says what was evaluated on what.
        cases: one row a slice.
        patients: one row a patient, or None without classes.
        summary: tables with `Interval` at the leaves.
        cards: of the models that answered.
        folders: of those models.
        source: name of the data source.
        part: which part of the split, or `all` for a foreign set.
        split: of the run, None where a foreign set was scored.
        removed: why slices were left out -> how many.
        notes: one line each that a reader must not miss.
        panels: charts by name.
        worst: the worst masks.
        misclassified: patients with the wrong class.
        randomised: the parameter-randomisation check, None where it can't be made.
        by_fold: slices, patients and plain scores of each fold of a cross-validation.
        recipe: of a cross-validation: network, weights, size and length.
        made: commit, versions, machine, time, seconds.
    """

    title: str
    cases: pd.DataFrame
    summary: dict[str, Any]
    cards: list[ModelCard]
    folders: list[str] = field(default_factory=list)
    source: str = ""
    part: str = ""
    split: Split | None = None
    patients: pd.DataFrame | None = None
    removed: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    panels: dict[str, Panel] = field(default_factory=dict)
    worst: list[Tile] = field(default_factory=list)
    misclassified: list[LookedAt] = field(default_factory=list)
    randomised: list[Randomised] | None = None
    by_fold: pd.DataFrame | None = None
    recipe: str | None = None
    made: dict[str, Any] = field(default_factory=dict)

    @property
    def about(self) -> str:
        """How many slices and patients a chart rests on."""
        n, patients = self.summary["n_slices"], self.summary["n_patients"]
        return f"{n} slices of {patients} patients." if self.summary["unit"] == "patient" else f"{n} slices, patients unknown."
