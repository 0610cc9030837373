"""Files of a report: charts, images of cases, page, scores and tables in one folder."""

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
from bts.evaluation.cases import BOTH_RIGHT_DICE
from bts.evaluation.classification import class_arrays, classes_of
from bts.evaluation.counterfactual import counterfactual_rows, left_out_lines
from bts.evaluation.metric_registry import UNITS, grouped, headline, text_table
from bts.evaluation.provenance import provenance
from bts.evaluation.scores import plain
from bts.evaluation.segmentation import LARGE_SHARE
from bts.glossary import DISCLAIMER
from bts.report import charts
from bts.report.evaluated import Evaluated, Misclassified
from bts.report.figures import draw_curves, draw_split, split_table
from bts.report.gallery import Tile, changed_tile, misclassified_patients, slices_of, worst_masks
from bts.report.rendering import render

TileMaker = Callable[[pd.DataFrame], dict[str, Tile]]
"""Returns an image of each of some cases, by path."""


@dataclass(frozen=True, eq=False)
class Extras:
    """What a report needs besides the cases.

    Attributes:
        make_tiles: draws images of chosen cases.
        features: (N, C) features before the class head, of each case, or None.
        curves: name -> `curves.csv` of a training.
        device: device of the models.
        seed: seed of t-SNE.
        began: `time.perf_counter()` at the start of the evaluation.
    """

    make_tiles: TileMaker
    features: np.ndarray | None = None
    curves: Mapping[Any, Path] = field(default_factory=dict)
    device: str = "cpu"
    seed: int = 0
    began: float = field(default_factory=time.perf_counter)


def publish(found: Evaluated, out: Path, extras: Extras) -> Evaluated:
    """Write `index.html`, `metrics.json`, CSVs and PNGs into `out`; return the content with charts and images.

    Raises `RequestError` where `out` can't be written.
    """
    make_folder(out)
    found.panels |= {panel.name: panel for panel in _panels(found, extras, out)}
    _add_tiles(found, extras.make_tiles)
    found.made = provenance(extras.device) | {"seconds": round(time.perf_counter() - extras.began)}
    if found.recipe:
        found.made["recipe"] = found.recipe
    _write(found, out)
    return found


def _panels(found: Evaluated, extras: Extras, out: Path) -> list[charts.Panel]:
    """Draw every chart that the cases allow."""
    cases, about, panels = found.cases, found.about, []
    if "dice" in cases and cases["dice"].notna().any():
        panels.append(charts.draw_dice(out, cases, about=about))
    if "predicted" in cases:
        panels += _class_panels(found, out)
    places = None if extras.features is None else charts.place_features(extras.features, seed=extras.seed)
    if places is not None:
        right = cases["right"].to_numpy(dtype=bool)
        panels.append(charts.draw_features(out, places, list(cases["label"]), right, about=about))
    if found.split is not None:
        caption = "Slices and patients of each class in each part."
        panels.append(charts.Panel("split", draw_split(found.split, out / "split.png").svg, caption, {}))
    for name, curves in extras.curves.items():
        drawn = draw_curves(curves, out / f"curves_{name}.png")
        if drawn is not None:
            panels.append(charts.Panel(f"curves_{name}", drawn.svg, f"Training of the {name} model.", {}))
    return panels


def _class_panels(found: Evaluated, out: Path) -> list[charts.Panel]:
    scores, about = found.summary["classification"], found.about
    truth, probabilities = class_arrays(found.cases)
    classes = classes_of(found.cases)
    confidence, right = found.cases["confidence"].to_numpy(), found.cases["right"].to_numpy(dtype=bool)
    below = {card.refer_below for card in found.cards if card.classes}
    refer = below.pop() if len(below) == 1 else None  # the folds of a cross-validation have one each
    drawn = [
        charts.draw_confusion(out, scores["slice"]["confusion"], classes, about=about),
        charts.draw_class_scores(out, scores["slice"]["class"], about=about),
        charts.draw_roc(out, truth, probabilities, classes, about=about),
        charts.draw_precision_recall(out, truth, probabilities, classes, about=about),
        charts.draw_reliability(out, scores["calibration"]["bins"], about=about),
        charts.draw_risk_coverage(out, confidence, right, refer_below=refer, about=about),
        charts.draw_confidence(out, confidence, right, about=about),
    ]
    return [panel for panel in drawn if panel is not None]


def _add_tiles(found: Evaluated, make_tiles: TileMaker) -> None:
    """Draw the worst masks, examples of changed slices, and every misclassified patient."""
    found.changed = [changed_tile(one) for one in found.counterfactuals.examples] if found.counterfactuals else []
    worst = worst_masks(found.cases) if "dice" in found.cases else found.cases.head(0)
    wrong = misclassified_patients(found.cases) if "predicted" in found.cases else pd.DataFrame()
    shown = [(patient, slices_of(found.cases, patient)) for _, patient in wrong.iterrows()]
    wanted = pd.concat([worst, *(slices for _, slices in shown)])
    if wanted.empty:
        return
    tiles = make_tiles(wanted)
    found.worst = [tiles[path] for path in worst["path"]]
    found.misclassified = [
        Misclassified(
            patient=str(patient["patient"]),
            label=str(patient["label"]),
            predicted=str(patient["predicted"]),
            confidence=float(patient["confidence"]),
            n_slices=int(patient["n_slices"]),
            n_right=int(patient["n_right"]),
            tiles=[tiles[path] for path in slices["path"]],
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
                {"patient": one.patient, "label": one.label, "predicted": one.predicted, "confidence": one.confidence,
                 "n_slices": one.n_slices, "n_right": one.n_right} for one in found.misclassified
            ],
        }
    )  # fmt: skip


def _write(found: Evaluated, out: Path) -> None:
    """Write page, scores and tables."""
    try:
        write_frame(found.cases, out / "slices.csv", float_format="%.6g")
        if found.patients is not None:
            write_frame(found.patients, out / "patients.csv", float_format="%.6g")
        if found.counterfactuals is not None:
            write_frame(found.counterfactuals.cases, out / "counterfactuals.csv", float_format="%.6g")
        write_text(out / "metrics.json", json.dumps(metrics(found), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        write_text(out / "scores.txt", text_table(found.summary) + "\n")
        write_text(out / "index.html", build_page(found))
    except OSError as error:
        raise RequestError(f"{out}: can't be written ({error.strerror}): choose another folder with --out") from error


def make_folder(path: Path) -> None:
    """Make a folder; raise `RequestError` where that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"{path}: can't be made ({error.strerror}): choose another folder with --out") from error


def build_page(found: Evaluated) -> str:
    """Return the whole page; images and style are embedded, there is no script, and nothing is fetched."""
    split = found.split
    facts = [
        ("source", found.source),
        ("part", found.part),
        ("split", split.fingerprint if split else None),
        ("same patient", split.same_patient if split else None),
        *((f"left out: {why}", count) for why, count in found.removed.items()),
    ]
    points = [", ".join(f"{name} {value}" for name, value in card.operating_point.items()) for card in found.cards]
    return render(
        "report.html",
        found=found,
        sections=_sections(found),
        headline=grouped(headline(found.summary)),
        disclaimer=DISCLAIMER,
        large_share=LARGE_SHARE,
        changes=counterfactual_rows(found.summary),
        left_out=left_out_lines(found.summary),
        units=UNITS,
        both_right_dice=BOTH_RIGHT_DICE,
        facts=facts,
        split_rows=split_table(split).to_dict("records") if split else [],
        training_charts=[name for name in found.panels if name == "split" or name.startswith("curves_")],
        operating_points=points,
        provenance=[(name.replace("_", " "), value) for name, value in found.made.items()],
    )


def _sections(found: Evaluated) -> dict[str, str]:
    """Return the titles of the sections that have content, by their anchor."""
    summary = found.summary
    sections = {
        "masks": ("Masks", "segmentation" in summary),
        "classes": ("Classes", "classification" in summary),
        "calibration": ("Calibration and referral", "classification" in summary),
        "together": ("Agreement of mask and class", "together" in summary),
        "explanation": ("Class activation maps", "explanation" in summary or bool(found.randomised)),
        "counterfactual": ("Counterfactual slices", "counterfactual" in summary),
        "features": ("Features", "features" in found.panels),
        "worst": ("Worst masks", bool(found.worst)),
        "misclassified": ("Misclassified patients", found.patients is not None),
        "split": ("Split and data", True),
        "models": ("Models", True),
        "limits": ("Limits", True),
    }
    return {name: title for name, (title, present) in sections.items() if present}
