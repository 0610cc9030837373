"""Which few numbers does a reader in a hurry need? Rows of name, score with interval, and what it was measured on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bts.evaluation.calibration import POOR_DICE
from bts.evaluation.cases import BOTH_RIGHT_DICE
from bts.evaluation.intervals import Interval
from bts.evaluation.segmentation_scores import LARGE_SHARE


@dataclass(frozen=True)
class Row:
    """One line of the headline table.

    Attributes:
        key: dotted place in `scores.json`, such as `segmentation.slice.dice`.
        name: in words.
        score: with its interval; None where it is undefined on these slices.
        better: `higher`, `lower` or an empty string.
    """

    key: str
    name: str
    score: Interval | None
    better: str = "higher"


SEGMENTATION = (
    ("slice.dice", "Dice, mean over slices", "higher"),
    ("patient.dice", "Dice, mean over patients", "higher"),
    ("slice.iou", "IoU, mean over slices", "higher"),
    ("slice.hd95_px", "HD95 in pixels (a single empty mask counts as the diagonal)", "lower"),
    ("missed_tumour", "tumour slices without any mask", "lower"),
    ("healthy_with_mask", "healthy slices with any mask", "lower"),
    ("healthy_with_large_mask", f"healthy slices with a mask over {LARGE_SHARE:.1%} of the picture", "lower"),
    ("doubt.caught", f"drawn masks with a Dice under {POOR_DICE} that are called doubtful", "higher"),
    ("doubt.false", "other drawn masks that are called doubtful", "lower"),
)
CLASSIFICATION = (
    ("slice.overall.accuracy", "accuracy per slice", "higher"),
    ("slice.overall.balanced_accuracy", "balanced accuracy per slice", "higher"),
    ("slice.overall.macro_f1", "macro F1 per slice", "higher"),
    ("slice.overall.macro_auc", "AUC, one class against the rest, macro", "higher"),
    ("patient.overall.accuracy", "accuracy per patient (mean probability)", "higher"),
    ("patient.overall.balanced_accuracy", "balanced accuracy per patient", "higher"),
    ("calibration.ece", "calibration error (ECE)", "lower"),
    ("referral.coverage", "share of slices not referred to an expert", ""),
    ("referral.accuracy_answered", "accuracy on those", "higher"),
)
TOGETHER = (
    ("contradiction", "mask and class contradict each other", "lower"),
    ("both_right", f"class right and Dice at least {BOTH_RIGHT_DICE}", "higher"),
)
EXPLANATION = (
    ("all.cam_energy", "Grad-CAM energy inside the true mask", "higher"),
    ("right.cam_energy", "... where the class is right", "higher"),
    ("wrong.cam_energy", "... where the class is wrong", ""),
)
SECTIONS = {"segmentation": SEGMENTATION, "classification": CLASSIFICATION, "together": TOGETHER, "explanation": EXPLANATION}


def find(summary: dict[str, Any], key: str) -> Any:
    """Return what stands at a dotted key, or None.

    >>> find({"a": {"b": 3}}, "a.b")
    3
    """
    value: Any = summary
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def headline(summary: dict[str, Any]) -> list[Row]:
    """Return the rows of a summary that are defined on its slices."""
    rows = [
        Row(f"{section}.{key}", name, find(summary, f"{section}.{key}"), better)
        for section, entries in SECTIONS.items()
        if section in summary
        for key, name, better in entries
    ]
    return [row for row in rows if row.score is not None]


def per_class_lines(summary: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Return for each class its scores as text: Dice, then precision, recall and F1, as far as they are there."""
    masks = find(summary, "segmentation.class") or {}
    classes = find(summary, "classification.slice.class") or {}
    lines = []
    for label in dict.fromkeys([*classes, *masks]):
        cells = [("Dice", find(masks, f"{label}.dice"))] if label in masks else []
        cells += [(name, find(classes, f"{label}.{name}")) for name in ("precision", "recall", "f1") if label in classes]
        lines.append((label, [f"{name} {score.text()}" for name, score in cells if score is not None]))
    return lines


def text_table(summary: dict[str, Any]) -> str:
    """Return the headline as lines for a terminal, with patients, slices and seed."""
    rows = headline(summary)
    wide = max(len(row.name) for row in rows)
    unit = "patients" if summary["unit"] == "patient" else "slices (no patient IDs)"
    head = f"{summary['n_slices']} slices of {summary['n_patients']} {unit}; 95% interval over {summary['draws']} draws"
    lines = [f"test: {head}, seed {summary['seed']}"]
    lines += [f"  {row.name:<{wide}}  {row.score.text()}" for row in rows if row.score is not None]
    lines += [f"  {label}: {', '.join(cells)}" for label, cells in per_class_lines(summary)]
    return "\n".join(lines)
