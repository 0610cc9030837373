"""Cross-validation: every patient tested once on a held-out fold, and resumption."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from made_runs import write_made_model

from bts.data.sources.catalogue import open_source
from bts.data.split_making import make_split
from bts.errors import InputError, RequestError
from bts.experiments.crossval import Folds, cross_validate, fold_settings, pooled_cases, run_fold
from bts.runs import Run, new_run
from bts.settings import ClsSettings, Settings
from bts.training.run_data import write_settings


class Trainer:
    """Stands in for `fit`: writes a run with random weights, and remembers what it was asked for."""

    def __init__(self, *, break_at: int = 0) -> None:
        self.asked: list[tuple[int, Path | None]] = []
        self.break_at = break_at

    def __call__(self, settings: Settings, *, resume: Path | None = None) -> Run:
        self.asked.append((settings.split.fold, resume))
        run = Run(resume) if resume else new_run(settings.runs, "cls")
        write_settings(run, settings)
        run.checkpoints.mkdir(exist_ok=True)
        if len(self.asked) == self.break_at:
            raise KeyboardInterrupt
        source = open_source("figshare", settings.data.root)
        split, _ = make_split(source.records(), settings.split)
        split.write(run.split_file)
        trained = [row.patient for row in split.part("train")]
        write_made_model(run.model, "cls", name=run.path.name, classes=list(source.classes), trained=trained, seed=0)
        return run


def recipe(data: Path) -> ClsSettings:
    settings = ClsSettings()
    settings.data.root, settings.data.size = str(data), 32
    settings.split.val = 0.3
    return settings


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, mixed_set: Path) -> tuple[Path, Trainer]:
    folder, train = tmp_path_factory.mktemp("cv"), Trainer()
    cross_validate(recipe(mixed_set), "cls", Folds.parse("2"), folder, train=train, device="cpu")
    return folder, train


def test_every_slice_is_tested_once_by_a_model_that_never_saw_its_patient(done: tuple[Path, Trainer], mixed_set: Path) -> None:
    folder, train = done
    cases = pd.read_csv(folder / "report" / "slices.csv", dtype={"patient_id": str, "patient": str})
    assert sorted(cases["path"]) == sorted(record.path for record in open_source("figshare", mixed_set).records())
    assert train.asked == [(1, None), (2, None)]
    assert cases.groupby("patient")["fold"].nunique().max() == 1


def test_the_pooled_report_has_every_fold_and_all_patients(done: tuple[Path, Trainer]) -> None:
    folder, _ = done
    found = json.loads((folder / "report" / "metrics.json").read_text())
    assert [row["fold"] for row in found["by_fold"]] == [1, 2]
    assert sum(row["slices"] for row in found["by_fold"]) == found["summary"]["n_slices"]
    assert len(found["models"]) == 2
    across, own = found["summary"]["classification"]["referral_across"], found["summary"]["classification"]["referral"]
    assert across.keys() == own.keys()
    page = (folder / "report" / "index.html").read_text()
    assert "Scores by fold" in page
    assert "all 2 of balanced folds of synthetic phantoms, out of fold" in page


def test_a_finished_fold_is_kept(done: tuple[Path, Trainer], mixed_set: Path) -> None:
    folder, _ = done
    again, settings = Trainer(), fold_settings(recipe(mixed_set), Folds.parse("2"), fold=1, folder=folder)
    assert run_fold(settings, "cls", again, device="cpu").path.parent == folder / "fold1" / "cls"
    assert again.asked == []


def test_an_interrupted_fold_is_resumed(tmp_path: Path, mixed_set: Path) -> None:
    settings = fold_settings(recipe(mixed_set), Folds.parse("2"), fold=2, folder=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run_fold(settings, "cls", Trainer(break_at=1), device="cpu")
    train = Trainer()
    run = run_fold(settings, "cls", train, device="cpu")
    assert train.asked == [(2, run.path)]
    assert run.marker() is not None


def test_folds_of_another_recipe_are_not_pooled(done: tuple[Path, Trainer], mixed_set: Path) -> None:
    folder, _ = done
    other = recipe(mixed_set)
    other.optim.epochs = 7
    with pytest.raises(RequestError, match=r"begun with another recipe \(optim\.epochs 30 is now 7\)"):
        cross_validate(other, "cls", Folds.parse("2"), folder, train=Trainer(), device="cpu")


def test_a_slice_tested_twice_is_refused(done: tuple[Path, Trainer]) -> None:
    folder, _ = done
    run = Run(next((folder / "fold1" / "cls").iterdir()))
    with pytest.raises(RequestError, match="was tested in two folds"):
        pooled_cases([run, run])


@pytest.mark.parametrize("text", ["1", "five", "", "-3"])
def test_folds_are_cvind_or_a_number_from_two_on(text: str) -> None:
    with pytest.raises(RequestError, match="expected cvind"):
        Folds.parse(text)


def test_the_authors_folds_need_their_file(tmp_path: Path, mixed_set: Path) -> None:
    assert Folds.parse("cvind") == Folds("cvind", 5)
    with pytest.raises((RequestError, InputError)):
        cross_validate(recipe(tmp_path), "cls", Folds.parse("cvind"), tmp_path / "out", train=Trainer(), device="cpu")
