"""Comparison of our scores with published ones and with the project's goals; published values are in literature.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bts.evaluation.intervals import Interval
from bts.evaluation.metric_registry import find
from bts.evaluation.results import Evaluation
from bts.glossary import NO_TUMOUR
from bts.report.rendering import Raw, table
from tools.documents import NOT_MEASURED

FILE = Path(__file__).with_name("literature.json")


@dataclass(frozen=True)
class Published:
    """One published value with its method, split and source."""

    value: str
    method: str
    split: str
    source: str

    def text(self) -> str:
        """Return the value with its method, split and source."""
        return f"{self.value} ({self.method}; {self.split}; {self.source})"


@dataclass(frozen=True)
class Comparison:
    """One row of the comparison.

    Attributes:
        name: of the score.
        key: place of our score in `metrics.json`.
        values: published ones.
        data: source of the data; empty for any.
        goal: value to reach, or None.
        better: `higher` or `lower`.
        split: `published` (leaks allowed), `by patient` (leaks refused), or empty for any.
        recipe: whose benchmark counts where no named run fits; empty for none.
        no_tumour: whether "no tumour" must be one of the classes or must not be; None for either.
    """

    name: str
    key: str
    values: tuple[Published, ...]
    data: str = ""
    goal: float | None = None
    better: str = "higher"
    split: str = ""
    recipe: str = ""
    no_tumour: bool | None = None


def read_literature(file: Path = FILE) -> list[Comparison]:
    """Return the rows of the comparison."""
    rows = json.loads(file.read_text(encoding="utf-8"))
    return [Comparison(**row | {"values": tuple(Published(**value) for value in row["values"])}) for row in rows]


def comparison_table(runs: Sequence[Evaluation], recipes: Mapping[str, Sequence[Evaluation]] | None = None) -> str:
    """Return published values, goal, and our score from the first run that has it, pooled folds first.

    Args:
        runs: named by the user.
        recipes: runs of benchmarks by recipe; only the recipe that a row names fills that row.
    """
    pooled_first = sorted(runs, key=lambda done: not done.scores.get("by_fold"))
    rows = []
    for row in read_literature():
        fitting = [*pooled_first, *(recipes or {}).get(row.recipe, ())]
        done, ours = next(((done, score) for done in fitting if (score := _score(done, row))), (None, None))
        published = "; ".join(value.text() for value in row.values) or "not reported"
        goal = "–" if row.goal is None else f"{'at least' if row.better == 'higher' else 'at most'} {row.goal:g}"
        cells = (ours, Raw(done.sample), goal_reached(ours, row)) if done and ours else (NOT_MEASURED, "–", "–")
        rows.append((Raw(row.name), Raw(published), goal, *cells))
    return table(("score", "published", "goal", "ours", "measured on", "goal reached"), rows)


def _score(done: Evaluation, row: Comparison) -> Interval | None:
    data = str(find(done.settings or {}, "data.source") or done.scores.get("source", ""))
    if done.summary["synthetic"] or row.data not in ("", data):
        return None
    if row.split and row.split != ("published" if done.leaks_allowed else "by patient"):
        return None
    classes = find(done.summary, "classification.slice.class") or {}
    if row.no_tumour is not None and row.no_tumour != (NO_TUMOUR in classes):
        return None
    found = find(done.summary, row.key)
    return found if isinstance(found, Interval) else None


def goal_reached(ours: Interval, row: Comparison) -> str:
    """Return whether a score reaches its goal, and whether its interval does."""
    if row.goal is None:
        return "–"
    gap = row.goal - ours.value if row.better == "higher" else ours.value - row.goal
    if gap > 0:
        return f"no, {gap:.3f} missing"
    far = ours.low if row.better == "higher" else ours.high
    sure = far is None or (far >= row.goal if row.better == "higher" else far <= row.goal)
    return "yes" if sure else f"yes, but the interval extends to {far:.3f}"
