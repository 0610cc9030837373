"""Content of a report before it becomes files."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from bts.data.split import Split
from bts.evaluation.counterfactual import Counterfactuals
from bts.evaluation.metric_registry import describe_sample
from bts.evaluation.randomisation import Randomised
from bts.models.folder import ModelCard
from bts.report.charts import Panel
from bts.report.gallery import Tile


@dataclass(frozen=True)
class Misclassified:
    """A patient whose class was wrong, with some of its slices."""

    patient: str
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
        title: what was evaluated on what, in one line.
        cases: one row per slice.
        patients: one row per patient, or None without classes.
        summary: tables with `Interval` leaves.
        cards: cards of the models.
        folders: folders of the models.
        source: name of the data source.
        part: part of the split, or `all` for an external set.
        split: split of the run, None for an external set.
        removed: reason -> number of slices left out.
        notes: warnings for the reader, one line each.
        panels: charts by name.
        worst: the worst masks.
        misclassified: patients with a wrong class.
        randomised: the parameter-randomisation check, None where it does not apply.
        counterfactuals: predictions for changed slices, None where no slice with a tumour has a mask.
        changed: examples of changed slices.
        by_fold: slices, patients and scores of each fold of a cross-validation.
        recipe: network, weights, size and length of a cross-validation.
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
    misclassified: list[Misclassified] = field(default_factory=list)
    randomised: list[Randomised] | None = None
    counterfactuals: Counterfactuals | None = None
    changed: list[Tile] = field(default_factory=list)
    by_fold: pd.DataFrame | None = None
    recipe: str | None = None
    made: dict[str, Any] = field(default_factory=dict)

    @property
    def about(self) -> str:
        """Sample size, for the caption of a chart."""
        return f"{describe_sample(self.summary['n_slices'], self.summary['n_patients'], self.summary['unit'])}."
