"""Finishing a run: choose the operating point on validation, then score the test part once."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pandas as pd

from bts.atomic import write_text
from bts.audit.confounding import find_confounding
from bts.csv_files import write_frame
from bts.evaluation.cases import evaluate_cases
from bts.evaluation.counterfactual import evaluate_counterfactuals, summarise_counterfactuals
from bts.evaluation.explanation import add_cam_methods
from bts.evaluation.intervals import Interval
from bts.evaluation.metric_registry import METRICS, describe_sample, headline, text_table
from bts.evaluation.ood import add_reference, format_reference
from bts.evaluation.operating_point import OperatingChoice, choose_operating_point
from bts.evaluation.provenance import provenance
from bts.evaluation.scores import plain, summarise
from bts.inference.predictor import Predictor
from bts.inference.runtimes.catalogue import open_runtime
from bts.models.folder import ModelCard, read_card, update_card
from bts.progress import phase
from bts.report.figures import draw_curves, draw_split
from bts.report.publish import make_folder
from bts.runs import Run
from bts.settings import SETTINGS
from bts.training.progress import Curves
from bts.training.run_data import RunData, read_run, refuse_training_patients, training_patients

log = logging.getLogger("bts.experiments")
MAIN = (
    "classification.tumour.accuracy",
    "segmentation.slice.dice",
    "classification.healthy.accuracy",
    "segmentation.healthy_with_mask",
)
"""Scores that the end of a training repeats, as far as they are defined."""


def finish_run(run: Run, *, device: str = "auto") -> dict[str, Any]:
    """Choose the operating point on validation, score the test part once, and mark the run as finished.

    Writes `scores/test_slices.csv`, `scores/test_counterfactuals.csv`, `scores/scores.json`, `curves.png`, `split.png` and
    `finished.json` into the run, and operating point, temperature, Grad-CAM scale, thresholds and scores into its
    `model.json`. A model of stage 1 is processed in the same way, into `scores/stage1_*`.

    Returns:
        `table` (text for a terminal), `summary` (best epoch and main scores, a line each), `scores` (content of `scores.json`),
        `cases` (one row per test slice).

    Raises:
        RequestError: no run, no split file, an empty part, missing data, or test patients that were trained on.
        InputError: an unreadable slice of validation or test.
    """
    with phase("scoring the run"):
        return _finish(run, device)


def _finish(run: Run, device: str) -> dict[str, Any]:
    data = read_run(run)
    card = read_card(run.model)
    refuse_training_patients(training_patients(card, run.model), data.records("test"), data.split.same_patient)
    make_folder(run.scores)
    cases, scores = _score_model(data, run.model, device=device, prefix="test")
    table = scores.pop("table")
    if (run.model_stage1 / "model.json").is_file():
        _, stage1 = _score_model(data, run.model_stage1, device=device, prefix="stage1")
        table += "\n\nstage 1 alone\n" + stage1.pop("table")
        del stage1["device"]
        scores["stage1"] = stage1
    used = scores.pop("device")
    scores |= {"notes": _notes(data, card), "trained_on": card.trained_on, "made": provenance(used)}
    text = json.dumps(plain(scores), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(run.scores / "scores.json", text + "\n")
    draw_split(data.split, run.path / "split.png")
    draw_curves(run.curves, run.path / "curves.png")
    _add_to_tensorboard(run)
    run.finish(task=card.task, synthetic=card.synthetic)
    table = "\n".join([table, *scores["notes"]])
    return {"table": table, "summary": [*_best_epoch(data), *_main_scores(run)], "scores": scores, "cases": cases}


def _best_epoch(data: RunData) -> list[str]:
    task, settings = read_card(data.run.model).task, data.settings
    asked = settings["trainer"]["monitor"]
    monitor = SETTINGS[task].monitors[0] if asked == "auto" else asked
    found = Curves(data.run.curves).best(monitor)
    return [] if found is None else [f"best epoch: {found[0]} of {found[1]}, {monitor} {found[2]:.4f} on validation"]


def _main_scores(run: Run) -> list[str]:
    scores = read_card(run.model).scores
    rows = [(METRICS[key].label, Interval(**scores[key])) for key in MAIN if key in scores]
    return [f"{label}: {one.text()}, {describe_sample(one.n_slices, one.n_patients, one.unit)}" for label, one in rows]


def _score_model(data: RunData, folder: Path, *, device: str, prefix: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Choose the operating point, update the card, score the test part; return cases and scores."""
    card = add_reference(data, folder, device=device)
    log.info("%s", format_reference(card.ood))
    validation = data.records("val")
    same_patient = data.split.same_patient
    runtime = open_runtime("torch", folder, device=device)
    choice = choose_operating_point(runtime, data.source, validation, same_patient=same_patient)
    log.info("operating point chosen on %d validation slices: %s", choice.n_slices, choice.text())
    card = write_choice(folder, choice)
    predictor = Predictor([open_runtime("torch", folder, device=device)])
    records = data.records("test")
    cases = evaluate_cases(predictor, data.source, records, name="scoring test", same_patient=same_patient)
    cases = add_cam_methods(cases, folder, data.source, records, device=device)
    summary = summarise(cases)
    write_frame(cases, data.run.scores / f"{prefix}_slices.csv", float_format="%.6g")
    changed = evaluate_counterfactuals(predictor, data.source, records, same_patient=same_patient)
    if changed is not None:
        summary["counterfactual"] = summarise_counterfactuals(changed.cases, changed.left_out)
        write_frame(changed.cases, data.run.scores / f"{prefix}_counterfactuals.csv", float_format="%.6g")
    update_card(
        folder,
        confounding=recorded_confounding(data),
        scores={"part": "test", **{row.key: plain(row.score) for row in headline(summary)}},
    )
    scores = plain(summary) | {
        "part": "test",
        "operating_point": plain(choice),
        "split_fingerprint": data.split.fingerprint,
        "split": plain({name: data.settings["split"].get(name) for name in ("kind", "fold", "same_patient", "seed")}),
        "model": {"task": card.task, "name": card.name, "fingerprint": card.fingerprint, "architecture": card.architecture},
        "limit_batches": data.settings.get("trainer", {}).get("limit_batches"),
    }
    return cases, scores | {"table": text_table(summary), "device": str(getattr(predictor.runtimes[0], "device", device))}


def write_choice(folder: Path, choice: OperatingChoice) -> ModelCard:
    """Write the operating point into `model.json`, where every later prediction reads it."""
    before = read_card(folder)
    point = dict(before.operating_point) | {"flip": choice.flip}
    if choice.threshold is not None and choice.min_area is not None:
        point |= {"threshold": choice.threshold, "min_area": choice.min_area}
    # A threshold of 0 refers or flags nothing; None would leave an earlier choice in place.
    referral = None if choice.referral is None else choice.referral.to_card()
    uncertain = None if choice.threshold is None else 0.0 if choice.uncertainty is None else choice.uncertainty.below
    return update_card(
        folder,
        operating_point=point,
        temperature=choice.temperature,
        cam_scale=choice.cam_scale,
        mask_evidence_exponent=choice.mask_evidence_exponent,
        no_tumour_bias=None if choice.balance is None else choice.balance.bias,
        refer_below=None if referral is None else 0.0,
        referral=referral,
        uncertain_mask_below=uncertain,
        mask_flaw=choice.mask_flaw,
    )


def _add_to_tensorboard(run: Run) -> None:
    """Write the headline beside the curves in TensorBoard."""
    from bts.training.loggers import write_test_scores  # imports Lightning

    values = {key.split(".", 1)[1]: one["value"] for key, one in read_card(run.model).scores.items() if isinstance(one, dict)}
    write_test_scores(run, values)


def recorded_confounding(data: RunData) -> str:
    """Return the classes of the training part that come from a single publisher, in words."""
    augment = data.settings.get("augment", {})
    shares = {name: augment.get(name, 0.0) for name in ("remove_tumour", "paste_tumour")}
    return find_confounding(data.records("train"), data.source.name).record(**shares)


def _notes(data: RunData, card: ModelCard) -> list[str]:
    notes = [found] if (found := recorded_confounding(data)) else []
    limit = data.settings.get("trainer", {}).get("limit_batches")
    if limit is not None:
        notes.append(f"trained on at most {limit} batches per epoch (--trainer.limit_batches): a trial, not a result")
    if flaw := read_card(data.run.model).mask_flaw:
        notes.append(f"the masks are of no use: {flaw}; check the true masks (`bts sources`), or train longer")
    if card.synthetic:
        notes.append("trained and scored on synthetic phantoms: the scores do not apply to patients")
    return notes
