"""How does an evaluation become a report? Predict, score, draw, look, and write page, numbers and tables into one folder."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bts.data.sources.base import Record
from bts.errors import RequestError
from bts.evaluation import report_figures as draw
from bts.evaluation.cases import evaluate_cases
from bts.evaluation.classification_scores import class_arrays, classes_of, patient_cases
from bts.evaluation.evaluated import Evaluated, LookedAt
from bts.evaluation.features import place_features
from bts.evaluation.gallery import draw_tiles, misclassified_patients, slices_of, worst_masks
from bts.evaluation.headline import text_table
from bts.evaluation.page import build_page
from bts.evaluation.provenance import provenance
from bts.evaluation.randomisation import Randomised, check_randomisation
from bts.evaluation.run_figures import draw_curves, draw_split
from bts.evaluation.scores import plain, summarise
from bts.evaluation.subject import Request, Subject, choose_subject
from bts.glossary import NO_TUMOUR
from bts.inference.prediction import Prediction

RANDOMISED_SLICES = 32
"""Slices on which the parameter-randomisation check is made, one a patient as far as they reach."""
Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many are done, of how many."""


def write_report(request: Request, out: Path, *, progress: Progress | None = None) -> Evaluated:
    """Evaluate what the request names and write `index.html`, `metrics.json`, CSVs and PNGs into `out`.

    Raises RequestError or InputError as `choose_subject` and `evaluate_cases` do, or where `out` can't be written.
    """
    start = time.perf_counter()
    _make_folder(out)
    subject = choose_subject(request)
    found, features = _evaluate(subject, request, progress)
    _draw(found, subject, features, out, seed=request.seed)
    _look(found, subject)
    found.randomised = _randomise(subject, found.cases, seed=request.seed)
    device = str(getattr(subject.predictor.runtimes[0], "device", request.device))
    found.made = provenance(device) | {"seconds": round(time.perf_counter() - start)}
    _write(found, out)
    return found


def _title(subject: Subject) -> str:
    what = {"seg": "segmentation", "cls": "classification", "joint": "joint segmentation and classification"}
    tasks = " and ".join(what[card.task] for card in subject.cards)
    part = f"{subject.part} part of {subject.source.name}" if subject.split else f"{subject.source.name}, a foreign set"
    return f"{tasks[0].upper()}{tasks[1:]} on the {part}" if subject.split else f"{tasks[0].upper()}{tasks[1:]} on {part}"


def _evaluate(subject: Subject, request: Request, progress: Progress | None) -> tuple[Evaluated, np.ndarray | None]:
    """Return the scored cases, and the features (N, C) behind the class where there are any."""
    features: list[np.ndarray] = []

    def keep(_: Record, prediction: Prediction) -> None:
        if prediction.features is not None:
            features.append(np.asarray(prediction.features))

    def tell(number: int) -> None:
        if progress is not None:
            progress("predicting", number, len(subject.records))

    cases = evaluate_cases(subject.predictor, subject.source, subject.records, progress=tell, keep=keep)
    found = Evaluated(
        title=_title(subject),
        cases=cases,
        summary=summarise(cases, seed=request.seed, draws=request.draws),
        cards=subject.cards,
        folders=[str(folder) for folder in subject.folders],
        source=subject.source.name,
        part=subject.part,
        split=subject.split,
        patients=patient_cases(cases) if "predicted" in cases else None,
        removed=subject.removed,
        notes=[*subject.notes, *_warnings(subject, cases)],
    )
    return found, np.stack(features) if len(features) == len(cases) else None


def _warnings(subject: Subject, cases: pd.DataFrame) -> list[str]:
    notes = []
    if any(card.synthetic for card in subject.cards):
        notes.append("a model was trained on synthetic phantoms: the numbers say nothing about patients")
    if cases["synthetic"].any():
        notes.append("the slices are synthetic phantoms")
    for task, run in subject.runs.items():
        limit = run.settings.get("trainer", {}).get("limit_batches")
        if limit is not None:
            notes.append(f"the {task} model was trained on at most {limit} batches an epoch: a quick look, not a result")
    if "dice" not in cases and any(card.task != "cls" for card in subject.cards):
        notes.append("the set has no masks: only the classes are scored")
    return notes


def _draw(found: Evaluated, subject: Subject, features: np.ndarray | None, out: Path, *, seed: int) -> None:
    """Draw every chart that the cases allow into the folder."""
    panels, about = [], found.about
    if "dice" in found.cases and found.cases["dice"].notna().all():
        panels.append(draw.draw_dice(out, found.cases, about=about))
    if "predicted" in found.cases:
        panels += _draw_classes(found, out)
    if features is not None:
        places = place_features(features, seed=seed)
        if places is not None:
            right = found.cases["right"].to_numpy(dtype=bool)
            panels.append(draw.draw_features(out, places, list(found.cases["label"]), right, about=about))
    if found.split is not None:
        caption = "Slices and patients of each class in each part."
        panels.append(draw.Panel("split", draw_split(found.split, out / "split.png"), caption, {}))
    for task, run in subject.runs.items():
        svg = draw_curves(run.run.curves, out / f"curves_{task}.png")
        if svg:
            panels.append(draw.Panel(f"curves_{task}", svg, f"Training of the {task} model.", {}))
    found.panels |= {panel.name: panel for panel in panels}


def _draw_classes(found: Evaluated, out: Path) -> list[draw.Panel]:
    scores, about = found.summary["classification"], found.about
    truth, probabilities = class_arrays(found.cases)
    classes = classes_of(found.cases)
    confidence, right = found.cases["confidence"].to_numpy(), found.cases["right"].to_numpy(dtype=bool)
    refer = next((card.refer_below for card in found.cards if card.classes), None)
    return [
        draw.draw_confusion(out, scores["slice"]["confusion"], classes, about=about),
        draw.draw_roc(out, truth, probabilities, classes, about=about),
        draw.draw_precision_recall(out, truth, probabilities, classes, about=about),
        draw.draw_reliability(out, scores["calibration"]["bins"], about=about),
        draw.draw_risk_coverage(out, confidence, right, refer_below=refer, about=about),
        draw.draw_confidence(out, confidence, right, about=about),
    ]


def _look(found: Evaluated, subject: Subject) -> None:
    """Draw the worst masks and every misclassified patient."""
    worst = worst_masks(found.cases) if "dice" in found.cases else found.cases.head(0)
    wrong = misclassified_patients(found.cases) if "predicted" in found.cases else pd.DataFrame()
    shown = [(patient, slices_of(found.cases, patient)) for _, patient in wrong.iterrows()]
    wanted = pd.concat([worst, *(slices for _, slices in shown)])
    if wanted.empty:
        return
    made = draw_tiles(subject.predictor, subject.source, wanted, subject.records)
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


def _randomise(subject: Subject, cases: pd.DataFrame, *, seed: int) -> list[Randomised] | None:
    """Check the Grad-CAM under random weights on a few tumour slices, of as many patients as possible."""
    runtime = next((one for one in subject.predictor.runtimes if one.card.task != "seg"), None)
    tumours = cases[cases["label"] != NO_TUMOUR]
    if runtime is None or tumours.empty:
        return None
    names = tumours["family"].where(tumours["family"].notna(), tumours["path"])
    order = np.random.default_rng(seed).permutation(len(tumours))
    turn = names.iloc[order].groupby(names.iloc[order]).cumcount()  # a patient's second slice comes after all first ones
    chosen = turn.sort_values(kind="stable").index[:RANDOMISED_SLICES]
    by_path = {record.path: record for record in subject.records}
    slices = [subject.source.read(by_path[path]) for path in tumours.loc[chosen, "path"]]
    return check_randomisation(runtime, slices, list(names.loc[chosen]), seed=seed)


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
        found.cases.to_csv(out / "slices.csv", index=False, float_format="%.6g")
        if found.patients is not None:
            found.patients.to_csv(out / "patients.csv", index=False, float_format="%.6g")
        _replace(out / "metrics.json", json.dumps(metrics(found), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        _replace(out / "scores.txt", text_table(found.summary) + "\n")
        _replace(out / "index.html", build_page(found))
    except OSError as error:
        raise RequestError(f"{out}: can't be written ({error.strerror}): choose another folder with --out") from error


def _replace(path: Path, content: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(content, encoding="utf-8")
    os.replace(part, path)


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"{path}: can't be made ({error.strerror}): choose another folder with --out") from error
