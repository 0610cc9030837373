"""Evaluation of models: predict the slices, score them, check the class activation maps, and write the report."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from torch.utils.tensorboard import SummaryWriter

from bts.data.readers.picture import open_picture
from bts.data.sources.base import Record
from bts.evaluation.cases import evaluate_cases
from bts.evaluation.classification import patient_cases
from bts.evaluation.counterfactual import evaluate_counterfactuals, summarise_counterfactuals
from bts.evaluation.explanation import add_cam_methods
from bts.evaluation.randomisation import Randomised, check_randomisation
from bts.evaluation.scores import summarise
from bts.evaluation.subject import Request, Subject, choose_subject
from bts.glossary import NO_TUMOUR, Part
from bts.inference.averaging import Ensemble
from bts.inference.model_selection import by_task
from bts.inference.prediction import Prediction
from bts.models.folder import ModelCard
from bts.progress import phase
from bts.report.evaluated import Evaluated
from bts.report.gallery import draw_tiles
from bts.report.publish import Extras, make_folder, publish
from bts.runs import Run
from bts.training.run_data import RunData

RANDOMISED_SLICES = 32
"""Slices of the parameter-randomisation check, of as many patients as possible."""


def write_report(request: Request, out: Path) -> Evaluated:
    """Evaluate what is requested and write `index.html`, `metrics.json`, CSVs and PNGs into `out`.

    Raises `RequestError` or `InputError` as `choose_subject` and `evaluate_cases` do, or where `out` can't be written.
    """
    with phase("evaluating"):
        return _write_report(request, out)


def _write_report(request: Request, out: Path) -> Evaluated:
    began = time.perf_counter()
    subject = choose_subject(request)
    make_folder(out)
    found, features = _evaluate(subject, request)
    found.randomised = _randomise(subject, found.cases, seed=request.seed)
    found.counterfactuals = evaluate_counterfactuals(
        subject.predictor, subject.source, subject.records, seed=request.seed, same_patient=subject.same_patient
    )
    if found.counterfactuals is not None:
        changed = found.counterfactuals
        found.summary["counterfactual"] = summarise_counterfactuals(
            changed.cases, changed.left_out, seed=request.seed, draws=request.draws
        )
    extras = Extras(
        lambda wanted: draw_tiles(subject.predictor, subject.source, wanted, subject.records),
        features=features,
        curves={name: run.run.curves for name, run in subject.runs.items()},
        device=str(getattr(subject.predictor.runtimes[0], "device", request.device)),
        seed=request.seed,
        began=began,
    )
    publish(found, out, extras)
    if found.split is not None:
        for run in subject.runs.values():
            _add_to_tensorboard(run.run, [out / f"{name}.png" for name in found.panels])
    return found


def evaluate(
    *models: str | Path,
    out: str | Path,
    data: str | None = None,
    root: str | None = None,
    part: Part = "test",
    device: str = "auto",
    seed: int = 0,
    draws: int = 2000,
) -> Evaluated:
    """Score models on slices they were not trained on, and write the report into a folder.

    Args:
        models: run folders, model folders, or names of bundled models: a segmenter, a classifier, both, or a joint model; of
            several of one task the mean is scored.
        out: folder of the report.
        data: name of an external source; None scores `part` of the runs' own split.
        root: folder of the data; None takes the run's, or the source's usual place.
        part: `train`, `val` or `test`.
        device: `auto`, `cpu`, `cuda` or `cuda:1`.
        seed: seed of the bootstrap.
        draws: draws of the bootstrap.

    Raises:
        RequestError, InputError: as `write_report`.
    """
    named = by_task(models)
    request = Request(models=named, part=part, data=data, root=root, device=device, seed=seed, draws=draws)
    return write_report(request, Path(out))


def _add_to_tensorboard(run: Run, images: Iterable[Path]) -> None:
    """Write PNGs into the run's events, under `report/<name>`."""
    with SummaryWriter(str(run.path)) as writer:
        for path in images:
            with open_picture(path) as image:
                pixels = np.asarray(image.convert("RGB"))
            writer.add_image(f"report/{path.stem}", pixels, dataformats="HWC")


def _title(subject: Subject) -> str:
    names = {"seg": "segmentation", "cls": "classification", "joint": "joint segmentation and classification"}
    tasks = " and ".join(names[task] for task in dict.fromkeys(card.task for card in subject.cards))
    if len(subject.cards) > len(subject.predictor.runtimes):
        tasks += f" by an ensemble of {len(subject.cards)} models"
    name = subject.source.title
    where = f"the {subject.part} part of {name}" if subject.split else f"{name}, an external set"
    return f"{tasks[0].upper()}{tasks[1:]} on {where}"


def _evaluate(subject: Subject, request: Request) -> tuple[Evaluated, np.ndarray | None]:
    """Return the scored cases, and the features (N, C) before the class head if there are any."""
    features: list[np.ndarray] = []

    def keep(_: Record, prediction: Prediction) -> None:
        if prediction.features is not None:
            features.append(np.asarray(prediction.features))

    cases = evaluate_cases(subject.predictor, subject.source, subject.records, same_patient=subject.same_patient, keep=keep)
    mapped = [folder for card, folder in zip(subject.cards, subject.folders, strict=True) if card.task != "seg"]
    if len(mapped) == 1:  # an ensemble has the mean of several maps
        cases = add_cam_methods(cases, mapped[0], subject.source, subject.records, device=request.device)
    found = new_evaluated(_title(subject), cases, subject.cards, seed=request.seed, draws=request.draws)
    found.folders = [str(folder) for folder in subject.folders]
    found.source, found.part, found.split = subject.source.name, subject.part, subject.split
    found.removed = subject.removed
    found.notes = [*subject.notes, *warnings_of(subject.cards, subject.runs.values(), cases)]
    return found, np.stack(features) if len(features) == len(cases) else None


def new_evaluated(title: str, cases: pd.DataFrame, cards: list[ModelCard], *, seed: int, draws: int = 2000) -> Evaluated:
    """Return scored cases with their tables; the caller fills in the rest of the report."""
    return Evaluated(
        title=title,
        cases=cases,
        summary=summarise(cases, seed=seed, draws=draws),
        cards=cards,
        patients=patient_cases(cases) if "predicted" in cases else None,
    )


def warnings_of(cards: Iterable[ModelCard], runs: Iterable[RunData], cases: pd.DataFrame) -> list[str]:
    """Return warnings about models, trainings and slices, one line each."""
    cards = list(cards)
    notes = list(dict.fromkeys(card.confounding for card in cards if card.confounding))
    if any(card.synthetic for card in cards):
        notes.append("a model was trained on synthetic phantoms: the scores do not apply to patients")
    if cases["synthetic"].any():
        notes.append("the slices are synthetic phantoms")
    for run in runs:
        limit = run.settings.get("trainer", {}).get("limit_batches")
        if limit is not None:
            notes.append(f"run {run.run.path.name} was trained on at most {limit} batches per epoch: a trial, not a result")
    if ("dice" not in cases or cases["dice"].isna().all()) and any(card.task != "cls" for card in cards):
        notes.append("the set has no masks of tumours: only the classes, and masks on healthy slices, are scored")
    return notes


def _randomise(subject: Subject, cases: pd.DataFrame, *, seed: int) -> list[Randomised] | None:
    """Check the class activation map under random weights on a few tumour slices, of as many patients as possible."""
    runtime = next((one for one in subject.predictor.runtimes if one.card.task != "seg"), None)
    if isinstance(runtime, Ensemble):  # the check is of the weights of one network
        return None
    tumours = cases[cases["label"] != NO_TUMOUR]
    if runtime is None or tumours.empty:
        return None
    names = tumours["patient"].where(tumours["patient"].notna(), tumours["path"])
    order = np.random.default_rng(seed).permutation(len(tumours))
    turn = names.iloc[order].groupby(names.iloc[order]).cumcount()  # second slices follow the first slices of all patients
    chosen = turn.sort_values(kind="stable").index[:RANDOMISED_SLICES]
    by_path = {record.path: record for record in subject.records}
    slices = [subject.source.read(by_path[path]) for path in tumours.loc[chosen, "path"]]
    return check_randomisation(runtime, slices, list(names.loc[chosen]), seed=seed)
