"""Benchmark of recipes on one split: training, resumption and comparison."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from recipe_data import RECIPES, shrunk_recipe

from bts.apps import benchmark as app
from bts.data.split import Split
from bts.errors import RequestError
from bts.experiments.benchmark import benchmark, refuse_other_data
from bts.runs import Run
from bts.settings import ClsSettings, Settings
from bts.training.fit import fit

BY_NAME = {path.stem: path for path in RECIPES}


def test_two_recipes_are_trained_on_one_split_and_compared(roots: dict[str, Path], weights: Path, tmp_path: Path) -> None:
    names = ("npz_mobilenetv2", "npz_cnn_scratch")
    recipes = {name: shrunk_recipe(BY_NAME[name], roots, runs=tmp_path, weights=weights) for name in names}
    trained: list[Settings] = []

    def train(settings: Settings, *, resume: Path | None = None) -> Run:
        trained.append(settings)
        return fit(settings, resume=resume)

    found = benchmark(recipes, "cls", tmp_path / "out", train=train, device="cpu")
    assert [Path(settings.runs).name for settings in trained] == list(names)
    splits = {name: Split.read(run.split_file) for name, run in found.runs.items()}
    assert splits[names[0]].fingerprint == splits[names[1]].fingerprint
    assert len(found.comparisons) == 1
    assert "the learning rate is 0.001 in place of 1e-05" in found.table  # a departure stands in the table
    rows = pd.read_csv(tmp_path / "out" / "benchmark.csv")
    assert set(rows["recipe"]) == set(names)
    for file in ("benchmark.md", "differences.csv", "benchmark.png"):
        assert (tmp_path / "out" / file).stat().st_size > 0
    again = benchmark(recipes, "cls", tmp_path / "out", train=partial(pytest.fail, "a finished recipe is kept"), device="cpu")
    assert again.table == found.table


def test_recipes_on_different_data_are_refused() -> None:
    one, other = ClsSettings(), ClsSettings()
    other.data.source, other.data.root = "npz", "data/npz"
    with pytest.raises(
        RequestError, match="'a' reads figshare in data/figshare, 'b' reads npz in data/npz: a benchmark needs one"
    ):
        refuse_other_data({"a": one, "b": other})


def test_recipes_of_several_tasks_are_refused() -> None:
    files = [BY_NAME["figshare_unet_resnet50_seg"], BY_NAME["figshare_unet_resnet50_cls"]]
    with pytest.raises(RequestError, match=r"several tasks can't be compared \(figshare_unet_resnet50_seg is for seg, "):
        app.read_all(files, [])


def test_settings_behind_the_files_hold_for_all_recipes() -> None:
    files, rest = app.files_first([str(BY_NAME["npz_mobilenetv2"]), str(BY_NAME["kaggle_resnet50_clahe"]), "--data.size", "64"])
    task, recipes = app.read_all(files, rest)
    assert task == "cls"
    assert [settings.data.size for settings in recipes.values()] == [64, 64]


def test_no_recipe_and_one_twice_are_refused() -> None:
    with pytest.raises(RequestError, match="expected settings files before the options"):
        app.command([])
    twice = [BY_NAME["npz_mobilenetv2"]] * 2
    with pytest.raises(RequestError, match="two recipes are called 'npz_mobilenetv2'"):
        app.read_all(twice, [])


def test_a_recipe_of_another_task_says_how_to_name_it() -> None:
    with pytest.raises(
        RequestError, match=r"unknown setting 'model\.attention'.*\(as settings of task cls; select another with --task\)"
    ):
        app.read_all([BY_NAME["figshare_unet_resnet50_seg"]], [], task="cls")
