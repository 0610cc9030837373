"""What do recipes score on the publisher's split, and what on new patients? Trains each twice, one table with both columns.

The published column lies in `published/`, the other in `by_patient/`, each a benchmark of its own; the table of both lies above
them. Same settings, same budget, parts of the same size. On the published split leaks pass as the recipe says; on the
other they are refused. Interrupted, the same request goes on.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bts.audit.gate import gate, make_gate
from bts.audit.patients import read_patients, with_patients
from bts.csv_files import write_frame
from bts.data.patient_ids import Group
from bts.evaluation.finished import read_finished, recipe
from bts.evaluation.scored import read_scored
from bts.experiments.benchmark import Benchmark, benchmark, refuse_other_data
from bts.experiments.by_patient import draw_or_read_split, published_split
from bts.experiments.gap import SIDES, UNPAIRED, Gap, Side, draw_gaps, find_gaps, gap_rows, gap_table, make_side
from bts.glossary import Task
from bts.markdown import escape
from bts.runs import Run
from bts.settings import Settings
from bts.training.prepare import open_data

log = logging.getLogger("bts.evaluation")

PUBLISHED, BY_PATIENT = "published", "by_patient"
"""Folders of the two columns."""


@dataclass(frozen=True, eq=False)
class Both:
    """What both trainings of each recipe found.

    Attributes:
        folder: of the whole.
        published, by_patient: the two benchmarks.
        gaps: of each recipe, by its name.
        table: Markdown.
    """

    folder: Path
    published: Benchmark
    by_patient: Benchmark
    gaps: dict[str, list[Gap]]
    table: str


def benchmark_both(
    recipes: Mapping[str, Settings],
    task: Task,
    folder: Path,
    *,
    table: Path,
    train: Callable[..., Run],
    device: str = "auto",
    seed: int = 0,
) -> Both:
    """Train and score every recipe on the publisher's split and on one by recovered patient; write the table of both.

    Args:
        recipes: settings by name, of one task and on one set of data, whose publisher has a split.
        task: theirs.
        folder: of the whole; a second call with the same folder goes on.
        table: patients by path, `recovered_*.csv` of `bts audit`.
        train: trains one run, `train(settings, resume=None, check=...)`; `bts.training.fit.fit`.
        device: that scores.
        seed: of the bootstrap.

    Raises:
        RequestError: recipes on different data or without a published split, a table of other data, a split that can't be drawn
            or leaks, or as training and scoring do.
    """
    refuse_other_data(recipes)
    first = next(iter(recipes.values()))
    patients = read_patients(table)
    source, records = open_data(first)
    known = with_patients(records, patients, table=table)
    published = published_split(records, first.split)
    drawn = folder / BY_PATIENT / "split.csv"
    strict_gate = make_gate(first)
    split, lines = draw_or_read_split(
        drawn, published, known, first.split, table=table, copies=partial(strict_gate.copies, source, published)
    )
    for line in lines:
        log.info(line)
    strict = {name: _strict(settings) for name, settings in recipes.items()}
    found = {}
    checks = {BY_PATIENT: strict_gate, PUBLISHED: gate(first)}
    for side, each in ((BY_PATIENT, strict), (PUBLISHED, recipes)):  # first what may be refused: a leak costs no training
        log.info("%s: %s", side, ", ".join(each))
        found[side] = benchmark(each, task, folder / side, train=partial(train, check=checks[side]), device=device, seed=seed)
    people = {row.path: row.patient for row in split.rows}
    return write_both(folder, found[PUBLISHED], found[BY_PATIENT], people, group=first.split.group, seed=seed)


def _strict(settings: Settings) -> Settings:
    made = copy.deepcopy(settings)
    made.split.leaks = "refuse"
    return made


def write_both(
    folder: Path, published: Benchmark, by_patient: Benchmark, patients: Mapping[str, str], *, group: Group, seed: int
) -> Both:
    """Write `benchmark.md`, `benchmark.csv` and `benchmark.png` of both columns; return what is in them."""
    sides: dict[str, tuple[Side, Side]] = {}
    for name in published.runs:
        cases = (read_scored(each.runs[name].path).cases for each in (published, by_patient))
        # Seeds apart: the draws of the two sides must not go together.
        one, other = (make_side(own, patients, group=group, seed=2 * seed + place) for place, own in enumerate(cases))
        sides[name] = one, other
    gaps = {name: find_gaps(*both) for name, both in sides.items()}
    table = _markdown(sides, gaps, published, by_patient)
    (folder / "benchmark.md").write_text(table, encoding="utf-8")
    write_frame(gap_rows(gaps), folder / "benchmark.csv")
    draw_gaps(folder / "benchmark.png", gaps)
    return Both(folder, published, by_patient, gaps, table)


def _markdown(
    sides: Mapping[str, tuple[Side, Side]], gaps: Mapping[str, list[Gap]], published: Benchmark, by_patient: Benchmark
) -> str:
    first = next(iter(sides.values()))
    lines = [f"# Benchmark: {escape(', '.join(sides))}", ""]
    lines += [f"- {name}: tested on {side.told}" for name, side in zip(SIDES, first, strict=True)]
    lines += ["", UNPAIRED, "", gap_table(gaps), "", "| recipe | split | network | trained on |", "|---|---|---|---|"]
    for name in sides:
        for title, each in zip(SIDES, (published, by_patient), strict=True):
            done = read_finished(each.runs[name].path)
            network = recipe(done.settings) if done.settings else ""
            cells = (name, title, network, done.card.trained_on if done.card else "")
            lines.append(f"| {' | '.join(map(escape, cells))} |")
    return "\n".join(lines) + "\n"
