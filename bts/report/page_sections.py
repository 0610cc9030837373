"""What does each section of a report say? One function a section, from what was evaluated to pieces of HTML."""

from __future__ import annotations

from typing import Any

import pandas as pd

from bts.evaluation.cases import BOTH_RIGHT_DICE
from bts.evaluation.metrics import TOLERANCE_PX
from bts.evaluation.segmentation_scores import LARGE_SHARE
from bts.report.evaluated import Evaluated
from bts.report.page_parts import Cell, charts, facts, paragraph, table, text, tiles
from bts.report.run_figures import split_table

MASK_COLUMNS = ("dice", "iou", "precision", "recall", "surface_dice", "hd95_px", "asd_px")
CLASS_COLUMNS = ("precision", "recall", "specificity", "f1", "auc")
NAMES = {
    "dice": "Dice",
    "iou": "IoU",
    "precision": "precision",
    "recall": "recall",
    "hd95_px": "HD95, px",
    "asd_px": "mean distance, px",
    "surface_dice": f"surface Dice, {TOLERANCE_PX:g} px",
    "specificity": "specificity",
    "f1": "F1",
    "auc": "AUC",
    "cam_energy": "energy in the tumour",
    "cam_flat": "that of a flat map",
    "cam_hit": "pointing game",
    "cam_iou": "IoU at half",
}


def _score_rows(tables: dict[str, Any], columns: tuple[str, ...]) -> list[list[Cell]]:
    rows: list[list[Cell]] = []
    for label, scores in tables.items():
        first = next((score for score in scores.values() if score is not None), None)
        n = [None, None] if first is None else [first.n_patients, first.n_slices]
        rows.append([label, *((scores.get(name), 1 if name.endswith("_px") else 3) for name in columns), *n])
    return rows


def _table_of(
    tables: dict[str, Any], columns: tuple[str, ...], *, first: str, caption: str = "", counted: str = "slices"
) -> str:
    head = [first, *(NAMES[name] for name in columns), "patients", counted]
    return table(head, _score_rows(tables, columns), caption=caption, name="wide" if len(columns) > 3 else "")


def masks(found: Evaluated) -> list[str]:
    """Return scores of the masks: overall, by class, by size, missed and too many."""
    masks = found.summary.get("segmentation")
    if masks is None:
        return []
    small, large = (f"{100 * bound:.2f}%" for bound in masks["size_bounds"])
    overall = {
        "all slices": masks["slice"],
        "patients": masks["patient"],
        "two masks": masks["both_masks"],
    }
    misses = [["all tumours", masks["missed_tumour"]]]
    misses += [[label, score] for label, score in masks["missed_by_class"].items()]
    misses += [[f"{name} tumours", score] for name, score in masks["missed_by_size"].items()]
    healthy = [
        ["any mask", masks["healthy_with_mask"]],
        [f"over {LARGE_SHARE:.1%} of the picture", masks["healthy_with_large_mask"]],
    ]
    return [
        _table_of(overall, MASK_COLUMNS, first="over", caption=_EMPTY_RULE),
        charts([found.panels.get("dice")], wide=("dice",)),
        "<h3>By class</h3>",
        _table_of(masks["class"], MASK_COLUMNS, first="class"),
        "<h3>By plane</h3>" if masks["plane"] else "",
        _table_of(masks["plane"], MASK_COLUMNS, first="plane") if masks["plane"] else "",
        "<h3>By size of the tumour</h3>",
        _table_of(
            masks["size"],
            MASK_COLUMNS,
            first="tertile",
            caption=f"Tertiles of these slices: small up to {small} of the picture, large over {large}.",
        ),
        "<h3>Tumours without any mask</h3>",
        table(["tumour slices", "share missed"], misses),
        "<h3>Masks on healthy slices</h3>" if masks["healthy_with_mask"] is not None else "",
        table(["mask", "share of healthy slices"], healthy) if masks["healthy_with_mask"] is not None else "",
    ]


_EMPTY_RULE = (
    "Patients: slices are averaged within a patient first. Two masks: only slices where truth and prediction are both there. "
    "Both masks empty: overlap 1, distance 0. Exactly one empty: overlap 0, distance the picture's diagonal. None is left out."
)


def classes(found: Evaluated) -> list[str]:
    """Return scores of the classes: per slice and per patient."""
    scores = found.summary.get("classification")
    if scores is None:
        return []
    names = ("accuracy", "balanced_accuracy", "macro_precision", "macro_recall", "macro_specificity", "macro_f1", "macro_auc")
    rows: list[list[Cell]] = [
        [name.replace("_", " "), scores["slice"]["overall"][name], scores["patient"]["overall"][name]] for name in names
    ]
    panels = [found.panels.get(name) for name in ("confusion", "class_scores", "roc", "precision_recall")]
    about = "A patient's class is that of the mean probability over its slices."
    return [
        table(["score", "per slice", "per patient"], rows, caption=about),
        charts(panels),
        "<h3>By class, per slice</h3>",
        _table_of(scores["slice"]["class"], CLASS_COLUMNS, first="class"),
        "<h3>By class, per patient</h3>",
        _table_of(scores["patient"]["class"], CLASS_COLUMNS, first="class", counted="answers"),
    ]


def calibration(found: Evaluated) -> list[str]:
    """Return whether a probability means what it says, and who is referred."""
    scores = found.summary.get("classification")
    if scores is None:
        return []
    held, refer = scores["calibration"], scores["referral"]
    rows: list[list[Cell]] = [
        ["calibration error (ECE, 15 bins)", held["ece"]],
        ["Brier score (0 to 2)", held["brier"]],
        ["mean confidence", held["mean_confidence"]],
        ["share of slices answered, not referred", refer["coverage"]],
        ["right among the answered", refer["accuracy_answered"]],
        ["right among the referred", refer["accuracy_referred"]],
    ]
    return [
        paragraph(" ".join(_chosen(found))),
        table(["score", "95% interval"], rows),
        charts([found.panels.get(name) for name in ("reliability", "risk_coverage", "confidence")]),
    ]


def _chosen(found: Evaluated) -> list[str]:
    """Return what was fitted on validation, for each model with classes."""
    lines = []
    for card in [card for card in found.cards if card.classes]:
        who = f"{card.name}: temperature" if len(found.cards) > 2 else "Temperature"
        lines.append(f"{who} {card.temperature:.3f}, fitted on validation.")
        if card.refer_below:
            lines.append(
                f"Under a confidence of {card.refer_below:.3f}, chosen on validation, a slice is referred to an expert."
            )
    return lines


def together(found: Evaluated) -> list[str]:
    """Return how mask and class go together."""
    scores = found.summary.get("together")
    if scores is None:
        return []
    rows = [["mask and class contradict each other", scores["contradiction"]]]
    if scores.get("both_right") is not None:
        rows.append([f"class right and Dice at least {BOTH_RIGHT_DICE}", scores["both_right"]])
    return [table(["on a slice", "share"], rows)]


def explanation(found: Evaluated) -> list[str]:
    """Return how the Grad-CAM scores, and what is left of it under random weights."""
    scores = found.summary.get("explanation")
    parts = []
    if scores is not None:
        names = {"all": "all slices with a tumour", "right": "class right", "wrong": "class wrong"}
        tables = {names[key]: value for key, value in scores.items()}
        parts.append(
            _table_of(tables, ("cam_energy", "cam_flat", "cam_hit", "cam_iou"), first="Grad-CAM against the true mask")
        )
    if found.randomised:
        rows: list[list[Cell]] = [[row.depth, row.layers, row.correlation, row.similarity] for row in found.randomised]
        caption = (
            "Weights drawn anew, from the head backwards; the map of the same class is compared with the trained network's. "
            "A map that survives random weights explains nothing (Adebayo et al. 2018)."
        )
        parts += [
            "<h3>What is left of the map under random weights</h3>",
            table(["drawn anew", "layers", "rank correlation", "SSIM"], rows, caption=caption),
        ]
    return parts


_KEY = (
    '<p class="soft"><span class="key" style="background:#ffd600"></span>truth'
    '<span class="key" style="background:#00e5ff"></span>prediction; with a classifier its Grad-CAM stands beside it.</p>'
)


def worst(found: Evaluated) -> list[str]:
    """Return the worst masks as pictures."""
    return [_KEY, tiles(found.worst)] if found.worst else []


def misclassified(found: Evaluated) -> list[str]:
    """Return every patient with the wrong class, with slices."""
    if found.patients is None:
        return []
    if not found.misclassified:
        return [paragraph("No patient's mean probability names a wrong class.")]
    parts = [paragraph(f"{len(found.misclassified)} of {len(found.patients)} patients, the surest mistakes first."), _KEY]
    for one in found.misclassified:
        said = (
            f"{one.family}: {one.label}, called {one.predicted} ({one.confidence:.0%}); {one.n_right} of {one.n_slices} right"
        )
        parts += [f"<h3>{text(said)}</h3>", tiles(one.tiles)]
    return parts


def split(found: Evaluated) -> list[str]:
    """Return what the slices are, who stood in which part, and how training went."""
    parts = [
        facts(
            [
                ("source", found.source),
                ("part", found.part),
                ("split", found.split.fingerprint if found.split else None),
                ("grouped by", found.split.group if found.split else None),
                *((f"left out: {why}", count) for why, count in found.removed.items()),
            ]
        )
    ]
    if found.split is not None:
        rows = [
            [r["part"], r["label"], int(r["slices"]), int(r["patients"])] for r in split_table(found.split).to_dict("records")
        ]
        parts.append(table(["part", "class", "slices", "patients"], rows))
    if found.by_fold is not None:
        parts += ["<h3>Fold by fold</h3>", _fold_table(found.by_fold)]
    names = [name for name in found.panels if name == "split" or name.startswith("curves_")]
    return [*parts, charts([found.panels[name] for name in names], wide=names)]


def _fold_table(folds: pd.DataFrame) -> str:
    counts = ("fold", "slices", "patients")
    rows: list[list[Cell]] = [
        [int(row[name]) if name in counts else f"{row[name]:.3f}" for name in folds.columns] for _, row in folds.iterrows()
    ]
    caption = "One fold proves little: its patients are few. The pooled scores above have the intervals."
    return table(list(folds.columns), rows, caption=caption)


def models(found: Evaluated) -> list[str]:
    """Return what the models are and on what the numbers were made."""
    parts = []
    for card, folder in zip(found.cards, found.folders, strict=True):
        point = ", ".join(f"{name} {value}" for name, value in card.operating_point.items())
        parts += [
            f"<h3>{text(card.name)}</h3>",
            facts(
                [
                    ("task", card.task),
                    ("folder", folder),
                    ("fingerprint", card.fingerprint),
                    ("network", f"{card.architecture.get('encoder')} at {card.preprocessing.get('size')} px"),
                    ("trained on", card.trained_on),
                    ("classes", ", ".join(card.classes)),
                    ("operating point", point),
                    ("temperature", card.temperature if card.classes else None),
                    ("licence", card.licence),
                    ("intended use", card.intended_use),
                ]
            ),
        ]
    return [*parts, facts((name.replace("_", " "), value) for name, value in found.made.items())]


def limits(found: Evaluated) -> list[str]:
    """Return what the numbers do not say."""
    lines = [
        "Scores are on single slices that were chosen by the publisher, most of them with a tumour; on whole volumes, other "
        "scanners or other diseases they may be far lower.",
        "An interval says what other patients of the same kind would give. It does not cover another hospital, another "
        "training seed, or mistakes in the truth.",
        "The truth is one outline by one team. Where a set holds a picture twice, its outlines differ.",
        "Families of patient IDs (such as MR040240 and MR040240B) count as one patient, in the split and in the intervals.",
        "Pixels are those of each slice in its own size; they are no millimetres.",
        "Grad-CAM is coarse: one cell of the network's last maps covers many pixels, so some energy misses a small tumour.",
    ]
    return ["<ul>" + "".join(f"<li>{text(line)}</li>" for line in lines) + "</ul>"]
