"""Registry of reported scores: place in `scores.json`, label, unit and direction of each, declared once.

Tables, pages, model cards and comparisons take label and direction from here. Registering a score that `scores.summarise`
computes adds it to the headline of every report.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from bts.evaluation.calibration import POOR_DICE
from bts.evaluation.cases import BOTH_RIGHT_DICE
from bts.evaluation.intervals import Interval
from bts.evaluation.metrics import TOLERANCE_PX
from bts.evaluation.segmentation import LARGE_SHARE
from bts.glossary import count_of


@dataclass(frozen=True)
class Metric:
    """A reported score.

    Attributes:
        key: dotted place in `scores.json`, such as `segmentation.slice.dice`.
        label: name in tables.
        better: `higher`, `lower`, or empty where neither is better.
        unit: `px` or empty; sets the number of decimals.
        column: column of the table of cases whose mean is the score, for comparisons; empty for none.
        of: kind of slices that are scored, whose publishers are then listed; empty for both kinds.
    """

    key: str
    label: str
    better: Literal["higher", "lower", ""] = "higher"
    unit: str = ""
    column: str = ""
    of: Literal["tumour", "healthy", ""] = ""

    @property
    def digits(self) -> int:
        """Number of decimals shown."""
        return 1 if self.unit == "px" else 3


METRICS: dict[str, Metric] = {}


def register(*metrics: Metric) -> None:
    """Add scores to the registry, in the order in which they are reported."""
    for metric in metrics:
        if metric.key in METRICS:
            raise ValueError(f"metric '{metric.key}' is registered twice")
        METRICS[metric.key] = metric


register(
    Metric("segmentation.slice.dice", "Dice, mean over slices with a tumour", column="dice", of="tumour"),
    Metric("segmentation.patient.dice", "Dice, mean over patients with a tumour", of="tumour"),
    Metric("segmentation.slice.iou", "IoU, mean over slices with a tumour", column="iou", of="tumour"),
    Metric(
        "segmentation.slice.hd95_px",
        "HD95 in pixels, slices with a tumour (no mask counts as the diagonal)",
        "lower",
        unit="px",
        column="hd95_px",
        of="tumour",
    ),
    Metric("segmentation.missed_tumour", "tumour slices without any mask", "lower", of="tumour"),
    Metric("segmentation.healthy_with_mask", "healthy slices with any mask", "lower", of="healthy"),
    Metric(
        "segmentation.healthy_with_large_mask",
        f"healthy slices with a mask over {LARGE_SHARE:.1%} of the image",
        "lower",
        of="healthy",
    ),
    Metric("segmentation.uncertain.caught", f"tumours with a Dice under {POOR_DICE}, missed ones too, flagged as uncertain"),
    Metric("segmentation.uncertain.false", "other masks of tumours flagged as uncertain", "lower"),
    Metric("segmentation.uncertain.healthy", "masks on healthy slices flagged as uncertain"),
    Metric("classification.tumour.accuracy", "class right on slices with a tumour", of="tumour"),
    Metric("classification.healthy.accuracy", "class right on healthy slices", of="healthy"),
    Metric("counterfactual.removed.called_tumour", "tumour replaced by tissue: still called a tumour", "lower"),
    Metric("counterfactual.removed.with_mask", "tumour replaced by tissue: with a mask", "lower"),
    Metric("counterfactual.pasted.called_tumour", "tumour pasted into a healthy slice: found"),
    Metric("counterfactual.pasted.right", "tumour pasted into a healthy slice: class right"),
    Metric("counterfactual.pasted.dice", "tumour pasted into a healthy slice: Dice"),
    Metric("counterfactual.control_tumour.called_tumour", "control, tissue beside the tumour replaced: tumour found"),
    Metric(
        "counterfactual.control_healthy.called_tumour", "control, tissue of a healthy slice replaced: called a tumour", "lower"
    ),
    Metric("classification.slice.overall.accuracy", "accuracy per slice"),
    Metric("classification.slice.overall.balanced_accuracy", "balanced accuracy per slice"),
    Metric("classification.slice.overall.macro_f1", "macro F1 per slice"),
    Metric("classification.slice.overall.macro_auc", "macro AUC per slice, one class against the rest"),
    Metric("classification.patient.overall.accuracy", "accuracy per patient (mean probability)"),
    Metric("classification.patient.overall.balanced_accuracy", "balanced accuracy per patient"),
    Metric("classification.calibration.ece", "expected calibration error (ECE)", "lower"),
    Metric("classification.referral.coverage", "share of slices not referred to an expert", ""),
    Metric("classification.referral.accuracy_answered", "accuracy on slices not referred"),
    Metric("classification.referral_across.coverage", "share of slices not referred by a rule chosen on the other folds", ""),
    Metric(
        "classification.referral_across.accuracy_answered",
        "accuracy on slices not referred by a rule chosen on the other folds",
    ),
    Metric("together.contradiction", "mask and class contradict each other (0 by construction where they are fused)", "lower"),
    Metric("together.heads_contradiction", "the two heads contradict each other before fusion", "lower"),
    Metric("together.both_right", f"tumour slices: class right and Dice at least {BOTH_RIGHT_DICE}", column="both_right"),
    Metric("together.both_right_healthy", "healthy slices: class right and no mask"),
    Metric("explanation.all.cam_energy", "class map's energy inside the true mask", column="cam_energy"),
    Metric("explanation.all.mask_precision", "precision of the mask, upper bound of the energy of a map derived from it"),
    Metric("explanation.right.cam_energy", "class map's energy, class right"),
    Metric("explanation.wrong.cam_energy", "class map's energy, class wrong", ""),
    Metric("explanation.method.gradcam.cam_energy", "energy inside the true mask by Grad-CAM", column="cam_energy_gradcam"),
    Metric("explanation.method.hirescam.cam_energy", "energy inside the true mask by HiResCAM", column="cam_energy_hirescam"),
)

COLUMNS = {
    "dice": "Dice",
    "iou": "IoU",
    "precision": "precision",
    "recall": "recall",
    "hd95_px": "HD95, px",
    "asd_px": "ASD, px",
    "surface_dice": f"surface Dice, {TOLERANCE_PX:g} px",
    "specificity": "specificity",
    "f1": "F1",
    "auc": "AUC",
    "called_tumour": "called a tumour",
    "right": "class right",
    "with_mask": "with a mask",
    "cam_energy": "energy in the tumour",
    "cam_flat": "energy of a constant map",
    "cam_hit": "pointing game",
    "cam_iou": "IoU at half maximum",
    "mask_precision": "precision of the mask",
    "accuracy_tumour": "tumour slices: class right",
    "accuracy_healthy": "healthy slices: class right",
    "missed": "tumours without a mask",
    "healthy_with_mask": "healthy slices with a mask",
}
"""Column heads of tables by class, size and group, by the last name of a key."""


@dataclass(frozen=True)
class Row:
    """A metric with its score."""

    metric: Metric
    score: Interval
    publishers: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Key of the metric."""
        return self.metric.key

    @property
    def name(self) -> str:
        """Label of the metric, with the publishers of its slices."""
        return self.metric.label + (f" ({', '.join(self.publishers)})" if self.publishers else "")


def find(summary: dict[str, Any], key: str) -> Any:
    """Return the value at a dotted key, or None.

    >>> find({"a": {"b": 3}}, "a.b")
    3
    """
    value: Any = summary
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def headline(summary: dict[str, Any]) -> list[Row]:
    """Return the registered scores that are defined in a summary."""
    found = ((metric, find(summary, key)) for key, metric in METRICS.items())
    publishers: dict[str, Any] = summary.get("publishers", {})
    of = {
        kind: tuple(name for name, scores in publishers.items() if any(scores.get(key) for key in keys))
        for kind, keys in {"tumour": ("accuracy_tumour", "dice"), "healthy": ("accuracy_healthy", "healthy_with_mask")}.items()
    }
    named = of if len(publishers) > 1 else {}
    return [Row(metric, score, named.get(metric.of, ())) for metric, score in found if score is not None]


GROUPS = {
    "segmentation": "Masks",
    "classification": "Classes",
    "together": "Mask and class together",
    "explanation": "Class activation maps",
    "counterfactual": "Counterfactual slices",
}
"""First names of keys -> headings of a long table of scores, in their order."""


def grouped(rows: list[Row]) -> dict[str, list[Row]]:
    """Return the rows of a headline by heading; those of other keys come last, under `Others`."""
    found: dict[str, list[Row]] = {heading: [] for heading in (*GROUPS.values(), "Others")}
    for row in rows:
        found[GROUPS.get(row.key.partition(".")[0], "Others")].append(row)
    return {heading: own for heading, own in found.items() if own}


UNITS = {
    "patient": "patients",
    "cluster": "patients and clusters of look-alike slices",
    "slice": "slices without patient IDs",
}
"""Unit of a summary -> its name in a sentence."""


def describe_sample(n_slices: int, n_units: int, unit: str) -> str:
    """Return the sample size in words.

    >>> describe_sample(12, 1, "patient"), describe_sample(1, 2, "patient")
    ('12 slices of 1 patient', '1 slice of 2 patients')
    """
    units = count_of(n_units, unit) if unit == "patient" else f"{n_units} {UNITS[unit]}"
    return f"{count_of(n_slices, 'slice')} of {units}"


def per_class_lines(summary: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Return Dice, precision, recall and F1 of each class as text, as far as they are defined."""
    masks = find(summary, "segmentation.class") or {}
    classes = find(summary, "classification.slice.class") or {}
    lines = []
    for label in dict.fromkeys([*classes, *masks]):
        cells = [("Dice", find(masks, f"{label}.dice"))]
        cells += [(name, find(classes, f"{label}.{name}")) for name in ("precision", "recall", "f1")]
        lines.append((label, [f"{name} {score.text()}" for name, score in cells if score is not None]))
    return [(label, texts) for label, texts in lines if texts]


def text_table(summary: dict[str, Any]) -> str:
    """Return the headline as lines for a terminal, with patients, slices and seed."""
    rows = headline(summary)
    wide = max(len(row.name) for row in rows)
    sample = describe_sample(summary["n_slices"], summary["n_patients"], summary["unit"])
    head = f"{sample}; 95% interval over {summary['draws']} draws"
    lines = [f"test: {head}, seed {summary['seed']}"]
    lines += [f"  {row.name:<{wide}}  {row.score.text()}" for row in rows]
    lines += [f"  {label}: {', '.join(cells)}" for label, cells in per_class_lines(summary)]
    return "\n".join(lines)
