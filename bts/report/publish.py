"""How do scored cases become files? Charts, pictures of cases, page, numbers and tables, all into one folder."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bts.atomic import write_text
from bts.csv_files import write_frame
from bts.errors import RequestError
from bts.evaluation.classification_scores import class_arrays, classes_of
from bts.evaluation.headline import text_table
from bts.evaluation.provenance import provenance
from bts.evaluation.scores import plain
from bts.report import report_figures as draw
from bts.report.evaluated import Evaluated, LookedAt
from bts.report.features import place_features
from bts.report.gallery import Tile, misclassified_patients, slices_of, worst_masks
from bts.report.page import build_page
from bts.report.run_figures import draw_curves, draw_split

Look = Callable[[pd.DataFrame], dict[str, Tile]]
"""Takes some cases and returns a picture of each, by path."""


@dataclass(frozen=True, eq=False)
class Extras:
    """What a report shows beside the cases.

    Attributes:
        look: draws pictures of chosen cases.
        features: (N, C) behind the class, of each case, or None.
        curves: name -> `curves.csv` of a training.
        device: that answered.
        seed: of t-SNE.
        began: `time.perf_counter()` when the evaluation began.
    """

    look: Look
    features: np.ndarray | None = None
    curves: Mapping[Any, Path] = field(default_factory=dict)
    device: str = "cpu"
    seed: int = 0
    began: float = field(default_factory=time.perf_counter)


def publish(found: Evaluated, out: Path, extras: Extras) -> Evaluated:
    """Draw, look and write `index.html`, `metrics.json`, CSVs and PNGs into `out`; return what was published.

    Raises RequestError where `out` can't be written.
    """
    make_folder(out)
    _draw(found, extras, out)
    _look(found, extras.look)
    found.made = provenance(extras.device) | {"seconds": round(time.perf_counter() - extras.began)}
    if found.recipe:
        found.made["recipe"] = found.recipe
    _write(found, out)
    return found


def _draw(found: Evaluated, extras: Extras, out: Path) -> None:
    """Draw every chart that the cases allow into the folder."""
    panels, about = [], found.about
    if "dice" in found.cases and found.cases["dice"].notna().all():
        panels.append(draw.draw_dice(out, found.cases, about=about))
    if "predicted" in found.cases:
        panels += _draw_classes(found, out)
    if extras.features is not None:
        places = place_features(extras.features, seed=extras.seed)
        if places is not None:
            right = found.cases["right"].to_numpy(dtype=bool)
            panels.append(draw.draw_features(out, places, list(found.cases["label"]), right, about=about))
    if found.split is not None:
        caption = "Slices and patients of each class in each part."
        panels.append(draw.Panel("split", draw_split(found.split, out / "split.png"), caption, {}))
    for name, curves in extras.curves.items():
        svg = draw_curves(curves, out / f"curves_{name}.png")
        if svg:
            panels.append(draw.Panel(f"curves_{name}", svg, f"Training of the {name} model.", {}))
    found.panels |= {panel.name: panel for panel in panels}


def _draw_classes(found: Evaluated, out: Path) -> list[draw.Panel]:
    scores, about = found.summary["classification"], found.about
    truth, probabilities = class_arrays(found.cases)
    classes = classes_of(found.cases)
    confidence, right = found.cases["confidence"].to_numpy(), found.cases["right"].to_numpy(dtype=bool)
    below = {card.refer_below for card in found.cards if card.classes}
    refer = below.pop() if len(below) == 1 else None  # the folds of a cross-validation have one each
    return [
        draw.draw_confusion(out, scores["slice"]["confusion"], classes, about=about),
        draw.draw_class_scores(out, scores["slice"]["class"], about=about),
        draw.draw_roc(out, truth, probabilities, classes, about=about),
        draw.draw_precision_recall(out, truth, probabilities, classes, about=about),
        draw.draw_reliability(out, scores["calibration"]["bins"], about=about),
        draw.draw_risk_coverage(out, confidence, right, refer_below=refer, about=about),
        draw.draw_confidence(out, confidence, right, about=about),
    ]


def _look(found: Evaluated, look: Look) -> None:
    """Draw the worst masks and every misclassified patient."""
    worst = worst_masks(found.cases) if "dice" in found.cases else found.cases.head(0)
    wrong = misclassified_patients(found.cases) if "predicted" in found.cases else pd.DataFrame()
    shown = [(patient, slices_of(found.cases, patient)) for _, patient in wrong.iterrows()]
    wanted = pd.concat([worst, *(slices for _, slices in shown)])
    if wanted.empty:
        return
    made = look(wanted)
    found.worst = [made[path] for path in worst["path"]]
    found.misclassified = [
        LookedAt(
            family=str(patient["family"]),
            label=str(patient["label"]),
            predicted=str(patient["predicted"]),
            confidence=float(patient["confidence"]),
            n_slices=int(patient["n_slices"]),
            n_right=int(patient["n_right"]),
            tiles=[made[path] for path in slices["path"]],
        )
        for patient, slices in shown
    ]


def metrics(found: Evaluated) -> dict[str, Any]:
    """Return every number of the page, for JSON."""
    return plain(
        {
            "title": found.title,
            "made": found.made,
            "source": found.source,
            "part": found.part,
            "split": found.split.fingerprint if found.split else None,
            "models": [{"name": card.name, "task": card.task, "fingerprint": card.fingerprint,
                        "operating_point": card.operating_point, "temperature": card.temperature,
                        "refer_below": card.refer_below, "cam_scale": card.cam_scale} for card in found.cards],
            "removed": found.removed,
            "notes": found.notes,
            "summary": found.summary,
            "by_fold": None if found.by_fold is None else found.by_fold.to_dict("records"),
            "randomisation": found.randomised,
            "charts": {name: panel.data for name, panel in found.panels.items()},
            "worst_masks": [tile.path for tile in found.worst],
            "misclassified_patients": [
                {"family": one.family, "label": one.label, "predicted": one.predicted, "confidence": one.confidence,
                 "n_slices": one.n_slices, "n_right": one.n_right} for one in found.misclassified
            ],
        }
    )  # fmt: skip


def _write(found: Evaluated, out: Path) -> None:
    """Write page, numbers and tables, each at once."""
    try:
        write_frame(found.cases, out / "slices.csv", float_format="%.6g")
        if found.patients is not None:
            write_frame(found.patients, out / "patients.csv", float_format="%.6g")
        write_text(out / "metrics.json", json.dumps(metrics(found), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        write_text(out / "scores.txt", text_table(found.summary) + "\n")
        write_text(out / "index.html", build_page(found))
    except OSError as error:
        raise RequestError(f"{out}: can't be written ({error.strerror}): choose another folder with --out") from error


def make_folder(path: Path) -> None:
    """Make a folder; raises RequestError where that can't be done."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"{path}: can't be made ({error.strerror}): choose another folder with --out") from error
