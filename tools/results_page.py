"""How do scores get into the documents? As tables between two markers, with what they were measured on.

Nobody types a number: a table is made of what a run, a cross-validation or a report left (`scores.json` or `metrics.json`,
settings, log, the card of the model) and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bts.errors import RequestError
from bts.evaluation.finished import Finished, leaks_allowed, measured_on, model_of
from bts.evaluation.headline import Row, find, headline
from bts.evaluation.intervals import Interval
from bts.models.folder import ModelCard

RESULTS, BESIDE = "results", "beside others"
"""Names of the pairs of markers between which tables go."""
MOST_ROWS = 5
SHORT = (
    "segmentation.slice.dice",
    "segmentation.patient.dice",
    "classification.slice.overall.accuracy",
    "classification.slice.overall.balanced_accuracy",
    "classification.patient.overall.accuracy",
)
"""Scores for the first screen of the README."""


def title_of(done: Finished) -> str:
    """Return the heading of a section."""
    return done.card.name if done.card else str(done.scores.get("title", done.folder.name))


def short_table(runs: Sequence[Finished]) -> str:
    """Return at most five rows, each score from the first of the runs that has it, and below what they were measured on."""
    rows, used = [], []
    for key in SHORT[:MOST_ROWS]:
        done = next((done for done in runs if find(done.summary, key) is not None), None)
        if done is None:
            continue
        row = chosen(done, key)
        assert row.score is not None
        rows.append(f"| {row.name} | {row.score.text()} |")
        used.append(f"*{model_of(done)}; {measured_on(done)}.*")
    head = ["| on patients never seen | score, 95% interval |", "|---|---|"]
    return "\n".join([*head, *rows, "", "<br>\n".join(dict.fromkeys(used))])


def chosen(done: Finished, key: str) -> Row:
    """Return the row of the headline with this key."""
    return next(row for row in headline(done.summary) if row.key == key)


def long_table(runs: Sequence[Finished]) -> str:
    """Return a section for each run: all headline scores, scores by class, and what they were measured on."""
    return "\n\n".join("\n".join(section(done)) for done in runs)


def section(done: Finished) -> Iterator[str]:
    """Yield the lines of one section."""
    yield f"### {title_of(done)}\n"
    yield "| score | value | 95% interval | patients | slices |\n|---|---|---|---|---|"
    for row in headline(done.summary):
        if row.score is not None:
            digits = 1 if row.key.endswith("_px") else 3
            counts = f"{row.score.n_patients} | {row.score.n_slices}"
            yield f"| {row.name} | {row.score.value:.{digits}f} | {_range(row.score, digits)} | {counts} |"
    yield from _class_table(done.summary)
    yield from _fold_table(done.scores.get("by_fold"))
    yield ""
    yield from (f"- {line}" for line in facts(done))


def _range(score: Interval, digits: int) -> str:
    if score.low is None or score.high is None:
        return "none: one patient" if score.n_patients == 1 else "none"
    return f"{score.low:.{digits}f} to {score.high:.{digits}f}"


def _class_table(summary: dict[str, Any]) -> Iterator[str]:
    masks, classes = find(summary, "segmentation.class") or {}, find(summary, "classification.slice.class") or {}
    columns = [("Dice", masks, "dice")] if masks else []
    columns += [
        (name, classes, key) for name, key in (("precision", "precision"), ("recall", "recall"), ("F1", "f1")) if classes
    ]
    if columns:
        yield "\n| class | " + " | ".join(name for name, _, _ in columns) + " |\n" + "|---" * (len(columns) + 1) + "|"
    for label in dict.fromkeys([*classes, *masks]):
        cells = [table.get(label, {}).get(key) for _, table, key in columns]
        yield f"| {label} | " + " | ".join("–" if cell is None else cell.text() for cell in cells) + " |"


def _fold_table(folds: list[dict[str, Any]] | None) -> Iterator[str]:
    if folds:
        yield "\n| " + " | ".join(folds[0]) + " |\n" + "|---" * len(folds[0]) + "|"
    for row in folds or []:
        yield "| " + " | ".join(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()) + " |"


def facts(done: Finished) -> Iterator[str]:
    """Yield what a reader needs to weigh or to repeat the numbers."""
    yield f"model: {model_of(done)}"
    yield f"tested on {measured_on(done)}"
    if done.card is not None and done.settings is not None:
        yield f"split fingerprint {done.scores.get('split_fingerprint')}, seed {done.settings['split']['seed']}"
        yield f"trained on {done.card.trained_on}; model fingerprint {done.card.fingerprint}, seed {done.settings['seed']}"
        yield from _operating_point(done.card)
    if leaks_allowed(done):
        yield "**leaks were allowed: the split was not audited**"
    yield f"intervals over {done.summary['draws']} draws of {done.summary['unit']}s, seed {done.summary['seed']}"
    made = done.scores.get("made") or {}
    yield from (f"{name}: {made[name]}" for name in ("machine", "device", "commit", "time", "versions") if made.get(name))
    yield from done.said
    yield from (f"**{line}**" for line in done.scores.get("notes") or [])


def _operating_point(card: ModelCard) -> Iterator[str]:
    point = card.operating_point
    flip = "averaged with the mirror image" if point["flip"] else "no mirror image"
    masks = f"mask threshold {point['threshold']:g}, regions under {point['min_area']:.2%} of the picture dropped, "
    yield f"operating point, chosen on validation: {masks if card.task != 'cls' else ''}{flip}"


def markers(name: str) -> tuple[str, str]:
    """Return the two lines of a document between which a table goes."""
    return f"<!-- {name}:begin -->", f"<!-- {name}:end -->"


def has_markers(path: Path, name: str) -> bool:
    """Return whether a document has a place for a table."""
    return path.is_file() and all(each in path.read_text(encoding="utf-8") for each in markers(name))


def block_of(path: Path, name: str = RESULTS) -> str:
    """Return what stands between the markers of a document; an empty string where it has none."""
    if not has_markers(path, name):
        return ""
    start, stop = markers(name)
    return path.read_text(encoding="utf-8").partition(start)[2].partition(stop)[0].strip()


def fill(path: Path, block: str, name: str = RESULTS) -> None:
    """Put a block between the markers of a document; `RequestError` where they are not there."""
    start, stop = markers(name)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RequestError(f"{path}: can't be read ({error.strerror}): name the document to write into") from None
    before, begin, rest = text.partition(start)
    _, end, after = rest.partition(stop)
    if not begin or not end:
        raise RequestError(f"{path}: expected the lines `{start}` and `{stop}`, between which the table goes")
    path.write_text(f"{before}{start}\n{block}\n{stop}{after}", encoding="utf-8")
