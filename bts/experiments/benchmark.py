"""Which recipe is best on one and the same split? Trains them one after another, scores each on the test part, compares.

Interrupted, the same request goes on: the split is drawn once, finished recipes are kept, the one under way is resumed.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bts.csv_files import write_frame
from bts.data.split_making import make_split
from bts.errors import RequestError
from bts.evaluation.finished import Finished, measured_on, read_finished, recipe
from bts.evaluation.headline import Row, headline
from bts.evaluation.scored import read_scored
from bts.experiments.compare import Comparison, compare, rows_of
from bts.experiments.crossval import Train, run_fold
from bts.glossary import Task
from bts.markdown import escape
from bts.report.figures import COLOURS, chart
from bts.runs import Run
from bts.settings import Settings
from bts.training.prepare import open_data

log = logging.getLogger("bts.evaluation")

SHOWN: dict[Task, tuple[str, ...]] = {
    "seg": ("segmentation.slice.dice", "segmentation.patient.dice", "segmentation.healthy_with_mask"),
    "cls": (
        "classification.slice.overall.accuracy",
        "classification.slice.overall.balanced_accuracy",
        "classification.slice.overall.macro_f1",
        "classification.slice.overall.macro_auc",
        "classification.patient.overall.accuracy",
    ),
}
"""Columns of the table, by task; the first is drawn."""


@dataclass(frozen=True, eq=False)
class Benchmark:
    """What a benchmark found.

    Attributes:
        folder: of the whole.
        runs: the finished run of each recipe, by its name.
        table: Markdown.
        comparisons: every further recipe against the first, paired over patients.
    """

    folder: Path
    runs: dict[str, Run]
    table: str
    comparisons: list[Comparison]


def benchmark(
    recipes: Mapping[str, Settings], task: Task, folder: Path, *, train: Train, device: str = "auto", seed: int = 0
) -> Benchmark:
    """Train and score every recipe on the first one's split and write the comparison into `folder`.

    Args:
        recipes: settings by name, of one task and on one set of data; the first one's split holds for all.
        task: theirs.
        folder: of the whole; a second call with the same folder goes on.
        train: trains one run; `bts.training.fit.fit`.
        device: that scores.
        seed: of the bootstrap.

    Raises:
        RequestError: recipes on different data, or as training and scoring do.
    """
    refuse_other_data(recipes)
    split = keep_split(next(iter(recipes.values())), folder)
    runs = {}
    for number, (name, settings) in enumerate(recipes.items(), start=1):
        log.info("recipe %d of %d: %s", number, len(recipes), name)
        runs[name] = run_fold(on_split(settings, split, runs=folder / name), task, train, device=device)
    return write_comparison(runs, task, folder, seed=seed)


def refuse_other_data(recipes: Mapping[str, Settings]) -> None:
    """Raise RequestError where recipes read different slices: then their scores are not of the same test part."""
    read = {name: (settings.data.source, settings.data.root) for name, settings in recipes.items()}
    first = next(iter(read))
    for name, where in read.items():
        if where != read[first]:
            raise RequestError(
                f"'{first}' reads {' in '.join(read[first])}, '{name}' reads {' in '.join(where)}: a benchmark needs one set, "
                "name it for all with --data.source and --data.root"
            )


def keep_split(settings: Settings, folder: Path) -> Path:
    """Return the file of the split that all recipes share, drawn at the first call."""
    path = folder / "split.csv"
    if not path.is_file():
        split, lines = make_split(open_data(settings)[1], settings.split)
        for line in lines:
            log.info(line)
        split.write(path)
    return path


def on_split(settings: Settings, split: Path, *, runs: Path) -> Settings:
    """Return the settings of a recipe on the shared split."""
    made = copy.deepcopy(settings)
    made.split.kind, made.split.file, made.runs = "file", str(split), str(runs)
    return made


def write_comparison(runs: Mapping[str, Run], task: Task, folder: Path, *, seed: int = 0) -> Benchmark:
    """Write `benchmark.md`, `benchmark.csv`, `differences.csv` and a chart of finished runs; return what is in them."""
    done = {name: read_finished(run.path) for name, run in runs.items()}
    first, *others = [read_scored(run.path) for run in runs.values()]
    comparisons = [compare(first, other, seed=seed) for other in others]
    table = markdown(done, task, comparisons)
    (folder / "benchmark.md").write_text(table, encoding="utf-8")
    write_frame(rows_as_frame(done), folder / "benchmark.csv")
    write_frame(pd.DataFrame(rows_of(comparisons)), folder / "differences.csv")
    draw_scores(folder / "benchmark.png", done, task)
    return Benchmark(folder, dict(runs), table, comparisons)


def markdown(done: Mapping[str, Finished], task: Task, comparisons: Sequence[Comparison]) -> str:
    """Return the table of scores, what each recipe was trained on, and the differences from the first."""
    first = next(iter(done.values()))
    shown = shown_rows(first, task)
    titles = [row.name for row in shown]
    lines = [
        f"# Benchmark: {escape(', '.join(done))}",
        "",
        f"Test: {measured_on(first)}. 95% intervals over the same draws.",
        "",
        f"| recipe | {' | '.join(titles)} |",
        f"|---|{'---|' * len(titles)}",
    ]
    for name, each in done.items():
        rows = {row.key: row for row in headline(each.summary)}
        lines.append(f"| {escape(name)} | {' | '.join(_score(rows.get(row.key)) for row in shown)} |")
    lines += ["", "| recipe | network | trained on |", "|---|---|---|"]
    for name, each in done.items():
        network = recipe(each.settings) if each.settings else ""
        lines.append(f"| {escape(name)} | {escape(network)} | {escape(each.card.trained_on if each.card else '')} |")
    if comparisons:
        lines += ["", *_difference_lines(list(done), comparisons)]
    return "\n".join(lines) + "\n"


def shown_rows(done: Finished, task: Task) -> list[Row]:
    """Return the headline rows that stand in the table."""
    wanted = SHOWN.get(task) or (*SHOWN["seg"], *SHOWN["cls"])
    return [row for row in headline(done.summary) if row.key in wanted]


def rows_as_frame(done: Mapping[str, Finished]) -> pd.DataFrame:
    """Return every headline score of every recipe, one a row."""
    rows = []
    for name, each in done.items():
        for row in headline(each.summary):
            score = row.score
            assert score is not None  # headline leaves out what is undefined
            rows.append(
                {"recipe": name, "score": row.key, "name": row.name, "value": score.value, "low": score.low, "high": score.high}
                | {"n_slices": score.n_slices, "n_patients": score.n_patients, "unit": score.unit, "seed": score.seed}
            )
    return pd.DataFrame(rows)


def draw_scores(path: Path, done: Mapping[str, Finished], task: Task) -> None:
    """Draw the first shown score of each recipe with its interval."""
    key = shown_rows(next(iter(done.values())), task)[0].key
    with chart(path, width=6.0, height=0.5 * len(done) + 1.2) as drawn:
        axis = drawn.axis
        for place, each in enumerate(done.values()):
            row = next(row for row in headline(each.summary) if row.key == key)
            score = row.score
            assert score is not None
            axis.plot(score.value, place, "o", color=COLOURS[0])
            if score.low is not None and score.high is not None:
                axis.plot([score.low, score.high], [place, place], color=COLOURS[0])
            axis.set_xlabel(row.name)
        axis.set_yticks(range(len(done)), list(done))
        axis.invert_yaxis()


def _difference_lines(names: list[str], comparisons: Sequence[Comparison]) -> list[str]:
    lines = [f"| less {names[0]} | score | difference | |", "|---|---|---|---|"]
    for name, found in zip(names[1:], comparisons, strict=True):
        lines += [f"| {name} | {one.name} | {one.gain.text()} | {one.verdict} |" for one in found.differences]
    return lines


def _score(row: Row | None) -> str:
    return "" if row is None or row.score is None else row.score.text()
