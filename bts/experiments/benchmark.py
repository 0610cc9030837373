"""Benchmark of recipes on one split: train them in turn, score each on the test part, and compare.

The same call resumes an interrupted one: the split is drawn once, finished recipes are kept, an unfinished one is resumed.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from bts.cluster import Engine
from bts.csv_files import write_frame
from bts.data.split_making import make_split
from bts.errors import RequestError
from bts.evaluation.metric_registry import METRICS, Metric, find, headline
from bts.evaluation.results import Evaluation, read_evaluation
from bts.experiments.compare import Comparison, compare, rows_of
from bts.experiments.crossval import Train, run_fold
from bts.glossary import Task
from bts.markup import escape
from bts.progress import counted
from bts.report.figures import chart, plot_interval
from bts.report.rendering import table
from bts.runs import Run
from bts.settings import Settings
from bts.training.prepare import open_data

log = logging.getLogger("bts.experiments")

MASK_COLUMNS = ("segmentation.slice.dice", "segmentation.patient.dice", "segmentation.healthy_with_mask")
CLASS_COLUMNS = (
    "classification.slice.overall.accuracy",
    "classification.slice.overall.balanced_accuracy",
    "classification.slice.overall.macro_f1",
    "classification.slice.overall.macro_auc",
    "classification.patient.overall.accuracy",
)
SHOWN: dict[Task, tuple[str, ...]] = {"seg": MASK_COLUMNS, "cls": CLASS_COLUMNS, "joint": (*MASK_COLUMNS, *CLASS_COLUMNS)}
"""Columns of the table by task; the first is drawn."""


@dataclass(frozen=True, eq=False)
class Benchmark:
    """Result of a benchmark.

    Attributes:
        folder: folder of the results.
        runs: finished run of each recipe, by its name.
        table: Markdown.
        comparisons: every further recipe against the first, paired over patients.
    """

    folder: Path
    runs: dict[str, Run]
    table: str
    comparisons: list[Comparison]


def benchmark(
    recipes: Mapping[str, Settings],
    task: Task,
    folder: Path,
    *,
    train: Train,
    device: str = "auto",
    seed: int = 0,
    engine: Engine[Settings, Run] = map,
) -> Benchmark:
    """Train and score every recipe on the first one's split and write the comparison into `folder`.

    Args:
        recipes: settings by name, of one task and one data set; the split of the first is used for all.
        task: task of the recipes.
        folder: folder of the results; a second call with the same folder resumes.
        train: trains one run; `bts.training.fit.fit`.
        device: for scoring.
        seed: seed of the bootstrap.
        engine: applies the training to each recipe, in order: one after another, or on a cluster (`Cluster.map_tasks`).

    Raises:
        RequestError: recipes on different data, or as training and scoring do.
    """
    refuse_other_data(recipes)
    split = draw_or_keep_split(next(iter(recipes.values())), folder)
    wanted = {name: copy.deepcopy(settings) for name, settings in recipes.items()}
    for name, made in wanted.items():
        made.split.kind, made.split.file, made.runs = "file", str(split), str(folder / name)
    done = engine(partial(run_fold, task=task, train=train, device=device), wanted.values())
    runs = {}
    for name, run in zip(wanted, counted(done, "benchmark", total=len(wanted), unit="recipes"), strict=True):
        runs[name] = run
        log.info("recipe %d of %d: %s in %s", len(runs), len(wanted), name, run.path)
    return write_comparison(runs, task, folder, seed=seed)


def refuse_other_data(recipes: Mapping[str, Settings]) -> None:
    """Raise `RequestError` where recipes read different data, so that their test parts would differ."""
    read = {name: (settings.data.source, settings.data.root) for name, settings in recipes.items()}
    first = next(iter(read))
    for name, where in read.items():
        if where != read[first]:
            raise RequestError(
                f"'{first}' reads {' in '.join(read[first])}, '{name}' reads {' in '.join(where)}: a benchmark needs one set, "
                "name it for all with --data.source and --data.root"
            )


def draw_or_keep_split(settings: Settings, folder: Path) -> Path:
    """Return the file of the shared split, drawn at the first call."""
    path = folder / "split.csv"
    if not path.is_file():
        split, lines = make_split(open_data(settings)[1], settings.split)
        for line in lines:
            log.info(line)
        split.write(path)
    return path


def write_comparison(runs: Mapping[str, Run], task: Task, folder: Path, *, seed: int = 0) -> Benchmark:
    """Write `benchmark.md`, `benchmark.csv`, `differences.csv` and a chart of finished runs."""
    done = {name: read_evaluation(run.path) for name, run in runs.items()}
    first, *others = done.values()
    comparisons = [compare(first, other, seed=seed) for other in others]
    text = markdown(done, task, comparisons)
    (folder / "benchmark.md").write_text(text, encoding="utf-8")
    write_frame(rows_as_frame(done), folder / "benchmark.csv")
    write_frame(pd.DataFrame(rows_of(comparisons)), folder / "differences.csv")
    draw_scores(folder / "benchmark.png", done, shown_metrics(first, task)[0])
    return Benchmark(folder, dict(runs), text, comparisons)


def shown_metrics(done: Evaluation, task: Task) -> list[Metric]:
    """Return the columns of the table that are defined."""
    return [METRICS[key] for key in SHOWN[task] if find(done.summary, key) is not None]


def markdown(done: Mapping[str, Evaluation], task: Task, comparisons: list[Comparison]) -> str:
    """Return the scores, network and data of each recipe, and the differences from the first, as Markdown."""
    names, first = list(done), next(iter(done.values()))
    shown = shown_metrics(first, task)
    scores = [(name, *(find(each.summary, metric.key) for metric in shown)) for name, each in done.items()]
    differences = [
        (name, one.name, one.gain, one.gain.verdict)
        for name, found in zip(names[1:], comparisons, strict=True)
        for one in found.differences
    ]
    parts = [
        f"# Benchmark: {escape(', '.join(names))}",
        f"Test: {first.sample}. 95% intervals over the same draws.",
        table(("recipe", *(metric.label for metric in shown)), scores),
        table(("recipe", "network", "trained on"), recipe_rows(done)),
    ]
    if differences:
        parts.append(table((f"minus {escape(names[0])}", "score", "difference", ""), differences))
    return "\n\n".join(parts) + "\n"


def recipe_rows(done: Mapping[str, Evaluation]) -> Iterator[tuple[str, str, str]]:
    """Yield name, network and training data of each recipe."""
    for name, each in done.items():
        yield name, each.recipe if each.settings else "", each.card.trained_on if each.card else ""


def rows_as_frame(done: Mapping[str, Evaluation]) -> pd.DataFrame:
    """Return every registered score of every recipe as one row."""
    rows = []
    for name, each in done.items():
        for row in headline(each.summary):
            score = row.score
            rows.append(
                {"recipe": name, "score": row.key, "name": row.name, "value": score.value, "low": score.low, "high": score.high}
                | {"n_slices": score.n_slices, "n_patients": score.n_patients, "unit": score.unit, "seed": score.seed}
            )
    return pd.DataFrame(rows)


def draw_scores(path: Path, done: Mapping[str, Evaluation], metric: Metric) -> None:
    """Draw one score of each recipe with its interval."""
    with chart(path, width=6.0, height=0.5 * len(done) + 1.2) as drawn:
        axis = drawn.axis
        for place, each in enumerate(done.values()):
            plot_interval(axis, find(each.summary, metric.key), place)
        axis.set_xlabel(metric.label)
        axis.set_yticks(range(len(done)), list(done))
        axis.invert_yaxis()
