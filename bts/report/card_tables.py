"""Tables of a model card, from files only: scores with intervals, slices by part, failures with their share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from bts.data.patient_ids import patient_of
from bts.data.split import Split
from bts.evaluation.calibration import POOR_DICE
from bts.evaluation.headline import find, headline
from bts.evaluation.intervals import Interval
from bts.evaluation.segmentation_scores import LARGE_SHARE
from bts.glossary import NO_TUMOUR, PARTS
from bts.markdown import escape


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table in Markdown."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(str(cell) for cell in row)} |" for row in rows)])


def score_cells(name: str, score: Interval, *, digits: int = 3) -> list[object]:
    """Return name, value with interval, patients and slices of one score."""
    return [name, score.text(digits), score.n_patients, score.n_slices]


def parts_table(split: Split) -> str:
    """Return slices and patients of each class in each part."""
    rows = []
    for label in (*dict.fromkeys(row.label for row in split.rows), "all"):
        cells = []
        for part in PARTS:
            some = [row for row in split.part(part) if label in ("all", row.label)]
            cells.append(f"{len(some)} of {len({patient_of(row.patient, split.group) for row in some})}")
        rows.append([escape(label or "not known"), *cells])
    return table(["slices of patients", "training", "validation", "test"], rows)


def headline_table(summary: dict[str, Any]) -> str:
    """Return the headline, tumour slices first: healthy ones without a mask count as a Dice of 1 in the mean over all."""
    rows = []
    tumours = find(summary, "segmentation.tumour_slices.dice")
    if tumours is not None:
        rows.append(score_cells("Dice, mean over slices with a tumour", tumours))
    for row in headline(summary):
        if row.score is not None:
            rows.append(score_cells(row.name, row.score, digits=1 if row.key.endswith("_px") else 3))
    return table(["score", "value [95% interval]", "patients", "slices"], rows)


def group_table(summary: dict[str, Any], group: str) -> str:
    """Return mask scores by `class`, `size` or `plane`, and the class's own; an empty string where there is no such group."""
    masks: dict[str, Any] = find(summary, f"segmentation.{group}") or {}
    classes: dict[str, Any] = {}
    missed = find(summary, f"segmentation.missed_by_{group}") or {}
    if group == "class":
        classes = find(summary, "classification.slice.class") or {}
    rows = []
    for name in dict.fromkeys([*classes, *masks]):
        cells = [find(masks, f"{name}.dice"), missed.get(name)]
        cells += [find(classes, f"{name}.{score}") for score in ("precision", "recall")] if classes else []
        counted = next((cell for cell in cells if cell is not None), None)
        counts = [counted.n_patients, counted.n_slices] if counted else ["", ""]
        rows.append([escape(name), *("" if cell is None else cell.text() for cell in cells), *counts])
    head = ["Dice", "no mask at all", *(["precision", "recall"] if classes else []), "patients", "slices"]
    return table([group, *head], rows) if rows else ""


def failure_rows(cases: pd.DataFrame) -> list[list[object]]:
    """Return what goes wrong on how many of how many slices, the most frequent first."""
    tumour = cases["label"] != NO_TUMOUR
    found: list[tuple[str, int, int]] = []
    if "predicted_area_px" in cases:
        has_mask = cases["predicted_area_px"] > 0
        found.append(("a tumour without any mask", int((tumour & ~has_mask).sum()), int(tumour.sum())))
        poor = tumour & has_mask & (cases["dice"] < POOR_DICE)
        found.append((f"a tumour's mask with a Dice under {POOR_DICE}", int(poor.sum()), int(tumour.sum())))
        large = cases["predicted_area_px"] >= LARGE_SHARE * cases["picture_area_px"]
        found.append(
            (f"a healthy slice with a mask over {LARGE_SHARE:.1%}", int((~tumour & large).sum()), int((~tumour).sum()))
        )
    if "predicted" in cases:
        wrong = cases[cases["predicted"] != cases["label"]]
        for (label, predicted), count in Counter(zip(wrong["label"], wrong["predicted"], strict=True)).items():
            found.append((escape(f"{label} taken for {predicted}"), count, int((cases["label"] == label).sum())))
    if "consistent" in cases:
        found.append(("mask and class contradict each other", int((~cases["consistent"].astype(bool)).sum()), len(cases)))
    ordered = sorted((each for each in found if each[2]), key=lambda each: -each[1] / each[2])
    return [[what, f"{count} of {total}", f"{count / total:.1%}"] for what, count, total in ordered]
