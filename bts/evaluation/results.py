"""How do scores get into the documentation without being copied by hand? Sections between markers, written from runs.

Each number stands with its interval, patients, slices, seed, machine and commit. What stands outside is never touched.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from bts.errors import RequestError
from bts.evaluation.headline import find, headline
from bts.evaluation.intervals import Interval
from bts.evaluation.scored import Scored
from bts.runs import Run

MOST_ROWS = 5
"""Rows of the README's table at most: its first screen is small."""
MAIN = {
    "segmentation.slice.dice": "Dice per slice",
    "classification.slice.overall.accuracy": "class accuracy",
    "classification.slice.overall.balanced_accuracy": "balanced",
    "together.contradiction": "contradictions",
}
"""What the README shows of a result."""


def write_results(results: Mapping[str, Scored], *, docs: Path | None, readme: Path | None) -> list[Path]:
    """Write a section for each named result into `docs`, and the table of all of them into `readme`; return what was written.

    A section that is there already is replaced where it stands; a new one goes to the end.

    Raises:
        RequestError: too many rows for the README, markers without their end, or a file that can't be read or written.
    """
    written = []
    if docs is not None:
        text = _read(
            docs, missing="# Results\n\nFor whoever wants to know how good the models are. Written by `bts results`.\n"
        )
        for name, scored in results.items():
            text = put_region(text, f"results {name}", result_section(name, scored))
        written.append(_write(docs, text))
    if readme is not None:
        if len(results) > MOST_ROWS:
            raise RequestError(f"{len(results)} results for {readme}: at most {MOST_ROWS} rows fit its first screen")
        text = _read(readme, missing=None)
        written.append(_write(readme, put_region(text, "results", readme_table(results))))
    return written


def put_region(text: str, name: str, content: str) -> str:
    """Return the text with what stands between the markers of `name` replaced; without markers both are added at the end.

    >>> put_region("a\\n<!-- bts x -->\\nold\\n<!-- /bts x -->\\nb\\n", "x", "new")
    'a\\n<!-- bts x -->\\nnew\\n<!-- /bts x -->\\nb\\n'
    """
    begin, end = f"<!-- bts {name} -->", f"<!-- /bts {name} -->"
    region = f"{begin}\n{content.strip()}\n{end}"
    if begin not in text:
        return text.rstrip("\n") + f"\n\n{region}\n"
    if end not in text[text.index(begin) :]:
        raise RequestError(f"the marker '{begin}' has no '{end}' after it: add it where the generated part ends")
    pattern = re.escape(begin) + r".*?" + re.escape(end)
    return re.sub(pattern, lambda _: region, text, count=1, flags=re.DOTALL)


def result_section(name: str, scored: Scored) -> str:
    """Return a Markdown section: what was scored on what, the table with intervals, the scores by class, the warnings."""
    lines = [f"## {name}", ""]
    lines += [f"- {what}: {value}" for what, value in measured_on(scored).items() if value not in (None, "")]
    lines += ["", "| score | value | 95% interval | patients | slices |", "|---|---|---|---|---|"]
    for row in headline(scored.summary):
        assert row.score is not None
        digits = 1 if row.key.endswith("_px") else 3
        counts = f"{row.score.n_patients} | {row.score.n_slices}"
        lines.append(f"| {row.name} | {row.score.value:.{digits}f} | {_range(row.score, digits)} | {counts} |")
    lines += _class_table(scored.summary)
    notes = scored.scores.get("notes") or []
    return "\n".join([*lines, *(f"\n**{line}**" for line in notes)])


def _range(score: Interval, digits: int) -> str:
    if score.low is None or score.high is None:
        return "none (one patient)" if score.n_patients == 1 else "none"
    return f"{score.low:.{digits}f} to {score.high:.{digits}f}"


def _class_table(summary: dict[str, Any]) -> list[str]:
    masks, classes = find(summary, "segmentation.class") or {}, find(summary, "classification.slice.class") or {}
    columns = [("Dice", masks, "dice")] if masks else []
    columns += [
        (title, classes, name) for title, name in (("precision", "precision"), ("recall", "recall"), ("F1", "f1")) if classes
    ]
    if not columns:
        return []
    lines = ["", "| class | " + " | ".join(title for title, _, _ in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for label in dict.fromkeys([*classes, *masks]):
        cells = [table.get(label, {}).get(key) for _, table, key in columns]
        lines.append(f"| {label} | " + " | ".join("–" if cell is None else cell.text() for cell in cells) + " |")
    return lines


def measured_on(scored: Scored) -> dict[str, object]:
    """Return what a reader must know of a result: data, split, model, machine, commit, seed."""
    scores, summary = scored.scores, scored.summary
    made = scores.get("made") or {}
    unit = "patients" if summary["unit"] == "patient" else "slices drawn (no patient IDs)"
    commit = made.get("commit")
    return {
        "scored on": f"{summary['n_slices']} slices of {summary['n_patients']} {unit}, part {scores.get('part', 'test')}",
        "split": _split_line(scores),
        "model": _model_line(scored),
        "training": scores.get("trained_on"),
        "intervals": f"bootstrap over {unit.split()[0]}, {summary['draws']} draws, seed {summary['seed']}",
        "machine": made.get("machine") and f"{made['machine']}, {made.get('device')}",
        "made": made.get("time") and f"{made['time']}" + (f", commit {commit}" if commit else ""),
        "command": made.get("command"),
    }


def _split_line(scores: dict[str, Any]) -> str | None:
    split = scores.get("split")
    if isinstance(split, dict):
        told = ", ".join(f"{name} {value}" for name, value in split.items() if value is not None)
        return f"{told}, fingerprint {scores.get('split_fingerprint')}"
    return f"fingerprint {split}" if split else None


def _model_line(scored: Scored) -> str | None:
    settings = Run(scored.folder).settings_file
    if settings.is_file():
        values = yaml.safe_load(settings.read_text(encoding="utf-8"))
        model, optim, data = (values.get(part) or {} for part in ("model", "optim", "data"))
        told = f"{model.get('encoder')}, weights {Path(str(model.get('weights'))).name}, {data.get('size')} px"
        return f"{told}, {optim.get('epochs')} epochs, rate {optim.get('lr')}"
    models = scored.scores.get("models") or []
    return "; ".join(f"{model['name']} ({model['fingerprint']})" for model in models) or None


def readme_table(results: Mapping[str, Scored]) -> str:
    """Return the README's table: one row a result, its main scores with intervals, patients and slices."""
    used = {key: title for key, title in MAIN.items() if any(find(one.summary, key) for one in results.values())}
    lines = ["| | " + " | ".join(used.values()) + " | patients, slices |", "|---" * (len(used) + 2) + "|"]
    for name, one in results.items():
        cells = [find(one.summary, key) for key in used]
        shown = " | ".join("" if cell is None else cell.text() for cell in cells)
        lines.append(f"| {name} | {shown} | {one.summary['n_patients']}, {one.summary['n_slices']} |")
    return "\n".join(
        [*lines, "", "In brackets 95% intervals over patients; no patient was trained on. Details: docs/results.md."]
    )


def _read(path: Path, *, missing: str | None) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        if missing is None:
            raise RequestError(f"{path}: no such file: name the README to write into") from error
        return missing
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{path}: can't be read ({type(error).__name__})") from error


def _write(path: Path, text: str) -> Path:
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise RequestError(f"{path}: can't be written ({error.strerror}): choose another file") from error
    return path
