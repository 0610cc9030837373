"""Cross-validation of a recipe: one training per fold, each scored on its held-out fold, in one pooled report.

Each fold is a run with its own operating point, chosen on its own validation part. The same call resumes an interrupted one:
finished folds are kept, an unfinished one is resumed.
"""

from __future__ import annotations

import copy
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from bts.cluster import Engine
from bts.csv_files import read_frame
from bts.data.sources.base import Record, Source
from bts.errors import RequestError
from bts.evaluation.calibration import refer_across
from bts.evaluation.counterfactual import Counterfactuals, summarise_counterfactuals
from bts.evaluation.intervals import numbers
from bts.evaluation.results import POOLED, TEXTS, read_evaluation, recipe
from bts.experiments.finish import finish_run
from bts.glossary import Task
from bts.inference.predictor import Predictor
from bts.inference.referral import SIGNALS
from bts.inference.runtimes.catalogue import open_runtime
from bts.models.folder import read_card
from bts.progress import counted, phase
from bts.report.evaluated import Evaluated
from bts.report.gallery import Tile, draw_tiles
from bts.report.publish import Extras, TileMaker, publish
from bts.report.report import new_evaluated, warnings_of
from bts.runs import Run
from bts.settings import Settings
from bts.training.run_data import flat, flat_settings, read_run, refuse_training_patients, training_patients

log = logging.getLogger("bts.experiments")

Train = Callable[..., Run]
"""`train(settings, resume=None | folder) -> Run`, as `bts.training.fit.fit`."""
CVIND_FOLDS = 5
ELSEWHERE = {"runs", "data.root", "data.cache", "data.cache_gib", "data.workers", "trainer.accelerator", "trainer.images"}
"""Settings that may differ between folds: locations and hardware."""


@dataclass(frozen=True)
class Folds:
    """Folds of the author (`cvind`), or a number of balanced ones.

    >>> Folds.parse("cvind").count, Folds.parse("10").count
    (5, 10)
    """

    kind: str
    count: int

    @classmethod
    def parse(cls, text: str) -> Folds:
        """Return the folds of a command line; raise `RequestError` for anything but `cvind` or a number of at least 2."""
        if text == "cvind":
            return cls("cvind", CVIND_FOLDS)
        if not text.isdigit() or int(text) < 2:
            raise RequestError(f"--folds {text}: expected cvind (the author's own five) or a number of folds from 2 on")
        return cls("folds", int(text))


def fold_settings(settings: Settings, folds: Folds, *, fold: int, folder: Path) -> Settings:
    """Return the settings of one fold; its run is `<folder>/fold<number>/<task>/<time>`."""
    made = copy.deepcopy(settings)
    made.split.kind = folds.kind  # type: ignore[assignment]
    made.split.folds, made.split.fold, made.split.file = folds.count, fold, None
    made.runs = str(folder / f"fold{fold}")
    return made


def run_fold(settings: Settings, task: Task, train: Train, *, device: str = "auto") -> Run:
    """Train and score one run, or resume it; a finished run is returned as it is."""
    runs = sorted(path for path in (Path(settings.runs) / task).glob("*") if (path / "settings.yaml").is_file())
    for path in runs:
        _refuse_other_recipe(Run(path), settings)
    finished = [Run(path) for path in runs if Run(path).marker() is not None]
    if finished:
        return finished[-1]
    begun = [path for path in runs if (path / "checkpoints").is_dir()]
    run = train(settings, resume=begun[-1]) if begun else train(settings)
    finish_run(run, device=device)
    return run


def _refuse_other_recipe(run: Run, settings: Settings) -> None:
    """Raise `RequestError` where a run was begun with other settings."""
    before = flat(yaml.safe_load(run.settings_file.read_text(encoding="utf-8")))
    now = flat_settings(settings)
    changed = [key for key in now if key not in ELSEWHERE and before.get(key) != now[key]]
    if changed:
        changes = ", ".join(f"{key} {before.get(key)} is now {now[key]}" for key in changed)
        raise RequestError(f"{run.path}: begun with another recipe ({changes}): choose another folder with --out")


def cross_validate(
    settings: Settings,
    task: Task,
    folds: Folds,
    folder: Path,
    *,
    train: Train,
    device: str = "auto",
    seed: int = 0,
    engine: Engine[Settings, Run] = map,
) -> Evaluated:
    """Train and score every fold and write the pooled report into `<folder>/report`.

    Args:
        settings: the recipe; its split is replaced by each fold in turn.
        task: task of the recipe.
        folds: which folds.
        folder: folder of the results; a second call with the same folder resumes.
        train: trains one run; `bts.training.fit.fit`.
        device: for scoring.
        seed: seed of the bootstrap.
        engine: applies the training to each fold, in order: one after another, or on a cluster (`Cluster.map_tasks`).

    Raises:
        RequestError: as training and scoring do, or a slice that was tested in two folds.
    """
    wanted = [fold_settings(settings, folds, fold=fold, folder=folder) for fold in range(1, folds.count + 1)]
    runs = engine(partial(run_fold, task=task, train=train, device=device), wanted)
    done = []
    for run in counted(runs, "cross-validation", total=folds.count, unit="folds"):
        done.append(run)
        log.info("fold %d of %d: %s", len(done), folds.count, run.path)
    with phase("pooling the folds"):
        return pool(done, folder / "report", folds=folds, device=device, seed=seed)


def pool(runs: list[Run], out: Path, *, folds: Folds, device: str = "auto", seed: int = 0) -> Evaluated:
    """Write one report over the test slices of all folds, each scored by the model that was not trained on it."""
    cases = pooled_cases(runs)
    data, cards = [read_run(run) for run in runs], [read_card(run.model) for run in runs]
    for card, one in zip(cards, data, strict=True):
        refuse_training_patients(training_patients(card, one.run.model), one.records("test"), one.split.same_patient)
    if all(name in cases for name in SIGNALS):
        patients = cases["patient"].fillna(cases["path"])
        right, number = cases["right"].to_numpy(dtype=bool), cases["fold"].to_numpy()
        cases["refer_across"] = refer_across(cases[list(SIGNALS)].to_numpy(dtype=np.float64), right, list(patients), number)
    source = data[0].source
    name = "the author's folds" if folds.kind == "cvind" else "balanced folds"
    title = f"{cards[0].task}: all {folds.count} of {name} of {source.title}, out of fold"
    found = new_evaluated(title, cases, cards, seed=seed)
    found.folders, found.source = [str(run.model) for run in runs], source.name
    found.part = f"{POOLED} ({folds.kind}, {folds.count})"
    found.notes = warnings_of(cards, data, cases)
    found.by_fold = per_fold(cases)
    _add_counterfactuals(found, runs, seed=seed)
    found.recipe = recipe(data[0].settings)
    curves = {f"fold{number}": run.curves for number, run in enumerate(runs, start=1)}
    return publish(found, out, Extras(fold_tiles(runs, source, device=device), curves=curves, device=device, seed=seed))


def pooled_cases(runs: list[Run]) -> pd.DataFrame:
    """Return the test slices of all runs with the column `fold`; raise `RequestError` for a slice tested twice."""
    tables = [read_evaluation(run.path).cases.assign(fold=number) for number, run in enumerate(runs, start=1)]
    cases = pd.concat(tables, ignore_index=True)
    twice = cases["path"].duplicated()
    if twice.any():
        path = cases.loc[twice, "path"].iloc[0]
        raise RequestError(f"slice {path} was tested in two folds: these runs are not a cross-validation")
    return cases


def _add_counterfactuals(found: Evaluated, runs: list[Run], *, seed: int) -> None:
    """Add the changed slices of all folds, where every fold has them."""
    files = [run.scores / "test_counterfactuals.csv" for run in runs]
    if all(file.is_file() for file in files):
        changed = pd.concat([read_frame(file, dtype=TEXTS) for file in files], ignore_index=True)
        left_out: dict[str, Counter[str]] = {}
        for run in runs:
            for kind, reasons in read_evaluation(run.path).summary["counterfactual"]["left_out"].items():
                left_out.setdefault(kind, Counter()).update(reasons)
        found.counterfactuals = Counterfactuals(changed, {kind: dict(reasons) for kind, reasons in left_out.items()})
        found.summary["counterfactual"] = summarise_counterfactuals(changed, left_out, seed=seed)


def per_fold(cases: pd.DataFrame) -> pd.DataFrame:
    """Return slices, patients and scores of each fold."""
    names = {"dice": "dice", "right": "accuracy"}
    rows = []
    for fold, own in cases.groupby("fold"):
        scores = {title: float(np.nanmean(numbers(own, name))) for name, title in names.items() if name in own}
        rows.append({"fold": fold, "slices": len(own), "patients": int(own["patient"].nunique()), **scores})
    return pd.DataFrame(rows)


def fold_tiles(runs: list[Run], source: Source, *, device: str) -> TileMaker:
    """Return a function that draws tiles of chosen cases, each with the model of its fold."""

    def draw(wanted: pd.DataFrame) -> dict[str, Tile]:
        tiles: dict[str, Tile] = {}
        records: list[Record] = source.records()
        for fold, own in wanted.groupby("fold"):
            run = runs[int(np.asarray(fold)) - 1]
            predictor = Predictor([open_runtime("torch", run.model, device=device)])
            tiles |= draw_tiles(predictor, source, own, records)
        return tiles

    return draw
