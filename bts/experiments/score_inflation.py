"""Score inflation from leakage: recipes trained on the publisher's split and on a split by recovered patient.

The published runs are in `published/`, the others in `by_patient/`, each a benchmark of its own; the table of both is beside
them. Settings, budget and sizes of the parts are the same. Leaks are allowed on the published split as the recipe says and
refused on the other. The same call resumes an interrupted one.

The two test parts are different slices of partly different patients, so nothing can be paired: each is resampled over its own
patients (groups of copies where the patient is unknown), and the inflation is the difference of independent draws. The interval
does not cover the variance between trainings of one recipe.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd

from bts.audit.gate import gate, make_gate
from bts.audit.patients import count_patients, merge_copies, read_patients, with_patients
from bts.csv_files import write_frame
from bts.data.patient_ids import SamePatient, patient_of
from bts.data.sources.base import Record
from bts.data.split import Split
from bts.data.split_making import make_split
from bts.errors import RequestError
from bts.evaluation.intervals import DRAWS, Bootstrap, Interval, draw_patients, statistic_interval, unpaired_difference
from bts.evaluation.results import read_evaluation
from bts.experiments.benchmark import Benchmark, benchmark, recipe_rows, refuse_other_data
from bts.experiments.compare import CLASS_SCORES, MEANS, statistics_of
from bts.glossary import Task
from bts.report.figures import COLOURS, chart, plot_interval
from bts.report.rendering import table
from bts.runs import Run
from bts.settings import Settings, SplitSettings
from bts.training.prepare import open_data

log = logging.getLogger("bts.experiments")

PUBLISHED, BY_PATIENT = "published", "by_patient"
"""Folders of the two benchmarks."""
TITLES = {PUBLISHED: "published split", BY_PATIENT: "by recovered patient"}
COMPARED = {MEANS["dice"], MEANS["iou"], *CLASS_SCORES}
"""Names of the scores in the table."""
UNPAIRED = (
    "95% intervals; the gap is the first minus the second. The two test parts are different slices, so the gap is unpaired: "
    "each part is resampled over its own patients, 2,000 times. The intervals do not cover the variance between trainings."
)


@dataclass(frozen=True, eq=False)
class TestPart:
    """Test cases of one split with their patients and bootstrap draws, independent of those of the other split."""

    __test__ = False  # not a test class, despite its name

    cases: pd.DataFrame
    patients: list[str]
    bootstrap: Bootstrap

    @property
    def sample(self) -> str:
        """Number of slices, recovered patients, and groups of copies of unknown patients."""
        known, invented = count_patients(self.patients)
        groups = f" and {invented} groups of copies" if invented else ""
        return f"{len(self.cases)} slices of {known} recovered patients{groups}"


@dataclass(frozen=True)
class Gap:
    """A score on both splits.

    Attributes:
        score: its name.
        published, by_patient: score on each split.
        gap: first minus second; its counts are those of both parts together.
    """

    score: str
    published: Interval
    by_patient: Interval
    gap: Interval


@dataclass(frozen=True, eq=False)
class ScoreInflation:
    """Both benchmarks, the gaps of each recipe, and their table in Markdown."""

    folder: Path
    published: Benchmark
    by_patient: Benchmark
    gaps: dict[str, list[Gap]]
    table: str


def measure_inflation(
    recipes: Mapping[str, Settings],
    task: Task,
    folder: Path,
    *,
    table: Path,
    train: Callable[..., Run],
    device: str = "auto",
    seed: int = 0,
) -> ScoreInflation:
    """Train and score every recipe on the publisher's split and on one by recovered patient.

    Args:
        recipes: settings by name, of one task and one data set with a published split.
        task: task of the recipes.
        folder: folder of the results; a second call with the same folder resumes.
        table: patients by path, `recovered_*.csv` of `bts audit`.
        train: trains one run, `train(settings, resume=None, check=...)`; `bts.training.fit.fit`.
        device: for scoring.
        seed: seed of the bootstrap.

    Raises:
        RequestError: recipes on different data or without a published split, a table of other data, a split that cannot be
            drawn or leaks, or as training and scoring do.
    """
    refuse_other_data(recipes)
    first = next(iter(recipes.values()))
    patients = read_patients(table)
    source, records = open_data(first)
    known = with_patients(records, patients, table=table)
    published = published_split(records, first.split)
    strict_gate = make_gate(first)
    split, lines = draw_or_read_split(
        folder / BY_PATIENT / "split.csv",
        published,
        known,
        first.split,
        table=table,
        copies=partial(strict_gate.copies, source, published),
    )
    for line in lines:
        log.info(line)
    strict = {name: _strict(settings) for name, settings in recipes.items()}
    found = {}
    for name, some, check in ((BY_PATIENT, strict, strict_gate), (PUBLISHED, recipes, gate(first))):  # refusals come first
        log.info("%s: %s", name, ", ".join(some))
        found[name] = benchmark(some, task, folder / name, train=partial(train, check=check), device=device, seed=seed)
    merged = {row.path: row.patient for row in split.rows}
    return write_inflation(
        folder, found[PUBLISHED], found[BY_PATIENT], merged, same_patient=first.split.same_patient, seed=seed
    )


def _strict(settings: Settings) -> Settings:
    made = copy.deepcopy(settings)
    made.split.leaks = "refuse"
    return made


def published_split(records: Sequence[Record], settings: SplitSettings) -> Split:
    """Return the split by the publisher's own parts; raise `RequestError` where the recipe asks for another."""
    if settings.kind != "published":
        raise RequestError(
            f"split.kind {settings.kind}: --by-patient compares the publisher's own parts with a split by patient: "
            "add --split.kind published, or leave --by-patient out"
        )
    return make_split(list(records), settings)[0]


def draw_or_read_split(
    path: Path,
    published: Split,
    records: Sequence[Record],
    settings: SplitSettings,
    *,
    table: Path,
    copies: Callable[[], Iterable[tuple[str, str]]],
) -> tuple[Split, list[str]]:
    """Draw the split by patient at the first call, read it from `path` at later ones; return it with lines for the log.

    The parts have the size of the published ones, so that the two scores differ by who is in a part, not by how many slices.
    `copies` gives the pairs of paths that show one image. The table may assign two patients to them, as it may be from an audit
    of more sets; these patients are merged, or the split would leak. Raises `RequestError` where the file is of another table.
    """
    if not path.is_file():
        merged, count = merge_copies(records, copies(), same_patient=settings.same_patient)
        train, val = (len(published.part(part)) / len(published.rows) for part in ("train", "val"))
        split, lines = make_split(merged, replace(settings, kind="ratios", train=train, val=val, file=None))
        split.write(path)
        note = [f"{count} patients of {table} share an image with another and are merged with it"] if count else []
        return split, [*note, *lines]
    split = Split.read(path, same_patient=settings.same_patient)
    drawn = {row.path: row.patient for row in split.rows}
    pairs = {(record.patient, drawn.get(record.path)) for record in records}
    renamed = len(pairs) > len({patient for patient, _ in pairs})  # one patient of the table under two names
    if renamed or len(drawn) != len(records) or any(name is None for _, name in pairs):
        raise RequestError(f"{path}: was drawn from another table than {table}: choose another folder with --out")
    return split, [f"split {split.fingerprint}: read from an earlier call"]


def make_part(
    cases: pd.DataFrame, patients: Mapping[str, str], *, same_patient: SamePatient = "suffixes", seed: int = 0
) -> TestPart:
    """Return test cases with the patients of a table; the two parts need different seeds."""
    names = [patient_of(patients[path], same_patient) for path in cases["path"]]
    return TestPart(cases.reset_index(drop=True), names, draw_patients(names, seed=seed, draws=DRAWS))


def find_gaps(published: TestPart, by_patient: TestPart) -> list[Gap]:
    """Return every score that both parts have, with the gap between them."""
    others = {name: values for name, values, _ in statistics_of(by_patient.cases)}
    gaps = []
    for name, values, statistic in statistics_of(published.cases):
        if name in others and name in COMPARED:
            first = statistic_interval(values, statistic, published.bootstrap)
            second = statistic_interval(others[name], statistic, by_patient.bootstrap)
            gap = unpaired_difference((values, published.bootstrap), (others[name], by_patient.bootstrap), statistic)
            gaps += [Gap(name, first, second, gap)] if first and second and gap else []
    return gaps


def write_inflation(
    folder: Path,
    published: Benchmark,
    by_patient: Benchmark,
    patients: Mapping[str, str],
    *,
    same_patient: SamePatient,
    seed: int,
) -> ScoreInflation:
    """Write `benchmark.md`, `benchmark.csv` and `benchmark.png` of both splits."""
    gaps: dict[str, list[Gap]] = {}
    heads: list[str] = []
    for name in published.runs:
        cases = (read_evaluation(each.runs[name].path).cases for each in (published, by_patient))
        # Different seeds, so that the draws of the two parts are independent.
        parts = [make_part(own, patients, same_patient=same_patient, seed=2 * seed + place) for place, own in enumerate(cases)]
        gaps[name] = find_gaps(*parts)
        heads = heads or [f"- {title}: tested on {part.sample}" for title, part in zip(TITLES.values(), parts, strict=True)]
    rows = [
        (name, title, *cells)
        for name in published.runs
        for title, each in zip(TITLES.values(), (published, by_patient), strict=True)
        for _, *cells in recipe_rows({name: read_evaluation(each.runs[name].path)})
    ]
    lines = [f"# Benchmark: {', '.join(published.runs)}", "", *heads, "", UNPAIRED, "", gap_table(gaps), ""]
    text = "\n".join([*lines, table(("recipe", "split", "network", "trained on"), rows)]) + "\n"
    (folder / "benchmark.md").write_text(text, encoding="utf-8")
    write_frame(gap_rows(gaps), folder / "benchmark.csv")
    draw_gaps(folder / "benchmark.png", gaps)
    return ScoreInflation(folder, published, by_patient, gaps, text)


def gap_rows(gaps: Mapping[str, Sequence[Gap]]) -> pd.DataFrame:
    """Return every gap of every recipe as one row, for CSV."""
    rows = []
    for recipe, found in gaps.items():
        for each in found:
            row: dict[str, object] = {"recipe": recipe, "score": each.score}
            for name, score in ((PUBLISHED, each.published), (BY_PATIENT, each.by_patient)):
                row |= {name: score.value, f"{name}_low": score.low, f"{name}_high": score.high}
                row |= {f"{name}_slices": score.n_slices, f"{name}_patients": score.n_patients}
            row |= {"gap": each.gap.value, "gap_low": each.gap.low, "gap_high": each.gap.high, "verdict": each.gap.verdict}
            rows.append(row | {"seed": each.gap.seed, "draws": each.gap.draws})
    return pd.DataFrame(rows)


def gap_table(gaps: Mapping[str, Sequence[Gap]]) -> str:
    """Return the scores on both splits and their gap, as Markdown."""
    counts = "slices, patients"
    head = ("recipe", "score", TITLES[PUBLISHED], counts, TITLES[BY_PATIENT], counts, "gap", "")
    return table(
        head,
        [
            (
                recipe,
                each.score,
                *(cell for one in (each.published, each.by_patient) for cell in (one, f"{one.n_slices}, {one.n_patients}")),
                each.gap,
                each.gap.verdict,
            )
            for recipe, found in gaps.items()
            for each in found
        ],
    )


def draw_gaps(path: Path, gaps: Mapping[str, Sequence[Gap]]) -> None:
    """Draw the first score of each recipe on both splits, with intervals."""
    with chart(path, width=6.0, height=0.7 * len(gaps) + 1.6) as drawn:
        axis = drawn.axis
        for place, found in enumerate(gaps.values()):
            for number, score in enumerate((found[0].published, found[0].by_patient)):
                label = list(TITLES.values())[number] if place == 0 else None
                height = place + 0.24 * number - 0.12
                plot_interval(axis, score, height, colour=COLOURS[number], marker="os"[number], label=label)
        axis.set_xlabel(next(iter(gaps.values()))[0].score)
        axis.set_yticks(range(len(gaps)), list(gaps))
        axis.set_ylim(len(gaps) - 0.5, -0.5)
        axis.figure.legend(loc="outside upper right", ncols=2)
